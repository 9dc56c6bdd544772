"""MLflow: runs, versions, packaging."""

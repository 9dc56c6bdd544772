"""What a person looks at: report, charts, templates."""

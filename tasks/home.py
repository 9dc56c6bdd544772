"""Where state lives, and the environment the frameworks must find before they are imported. Imports
nothing heavy.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from erasure_core.errors import BadInput

QUIET = {
    "DO_NOT_TRACK": "true",  # Prefect's client; MLflow accepts the literal "true" only
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # Prefect's server does not read DO_NOT_TRACK
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # `--json` owns stdout
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # default 120 s
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # default 7: four silent minutes without a server
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",  # otherwise warns at every fork
    "GIT_PYTHON_REFRESH": "quiet",  # MLflow and DVC warn on a machine without git
    # default 20; a busy two-core machine takes up to 23
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
UNSEEN = ".gitignore"
TRIAL = "trial-"  # begins the folders, among those of runs, of what was tried and not registered


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder: one place for the book, runs, checkpoints and registry."""

    root: Path

    @classmethod
    def from_env(cls) -> "Home":
        """`ERASURE_HOME`, or `.erasure` in the working directory; always absolute."""
        return cls(Path(os.environ.get("ERASURE_HOME") or ".erasure").absolute())

    def checked(self) -> "Home":
        """This state folder, if it is a folder or can become one.

        Raises:
            BadInput: It is a file or leads nowhere, or its parent is not there (a typo would begin
                an empty state beside the real one); or MLflow and Prefect, which have it as part of
                a URL, would read another path. Or `dvc_remote` is refused.
        """
        _ = self.dvc_remote
        if "?" in str(self.root) or unquote(str(self.root)) != str(self.root):
            raise BadInput(
                f"state folder {self.root}: a path with ? or an escape such as %20 means another "
                "one to MLflow and Prefect; rename the folder, or set ERASURE_HOME to another"
            )
        try:
            self.root.lstat()
            folder = self.root
        except FileNotFoundError:
            folder = self.root.parent
        except OSError as fault:
            raise BadInput(
                f"state folder {self.root}: {fault.strerror}; correct ERASURE_HOME"
            ) from None
        if not folder.is_dir():
            found = "no folder" if folder.exists() else "not there"
            raise BadInput(
                f"state folder {self.root}: {folder} is {found}; correct ERASURE_HOME, or make it"
            )
        return self

    def begin(self) -> None:
        """Make the state folder, where it is not there or empty, and keep it out of git: people's
        names in it would be published with the folder around it. One that holds anything may be
        somebody's working folder, and is left as it is.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if all(entry.name.startswith(f"{UNSEEN}.") for entry in self.root.iterdir()):  # of a kill
            keep_out_of_git(self.root)

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def prepared(self) -> Path:
        """What methods prepare once and use again (trajectories, anchor pictures, Gram matrices),
        by content; safe to delete.
        """
        return self.root / "prepared"

    @property
    def evaluations(self) -> Path:
        """Pictures of evaluations that are not finished; safe to delete."""
        return self.root / "evaluations"

    @property
    def records(self) -> Path:
        """One record per registered version: what the audit reads."""
        return self.root / "records"

    @property
    def checkpoints(self) -> Path:
        """Folders named by their content: `<sha256>/`, each with its DVC pointer `<sha256>.dvc`
        beside it.
        """
        return self.root / "checkpoints"

    @property
    def dvc(self) -> Path:
        """DVC's own folder (config, cache); the state folder is the DVC repository."""
        return self.root / ".dvc"

    @property
    def dvc_remote(self) -> str:
        """`ERASURE_DVC_REMOTE` (a folder or a URL), or the folder `dvc-remote` here.

        Raises:
            BadInput: It is a path that means another folder in every working folder.
        """
        remote = os.environ.get("ERASURE_DVC_REMOTE") or str(self.root.absolute() / "dvc-remote")
        if "://" in remote:
            return remote
        if not Path(remote).is_absolute():
            raise BadInput(
                f"ERASURE_DVC_REMOTE={remote} means another folder wherever a command starts, and "
                "nothing but a shell reads ~ as the home folder; write the whole path, from / on"
            )
        return str(Path(remote))

    @property
    def tracking_uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, or the SQLite file here."""
        return (
            os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root.absolute()}/mlflow.db"
        )

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, when no tracking server decides otherwise."""
        return self.root / "mlartifacts"

    @property
    def mlflow(self) -> Path:
        """Of MLflow's server, while `erasure ui` serves its pages: its log."""
        return self.root / "mlflow"

    @property
    def keys(self) -> Path:
        """The key that signs statements, and the public keys that are believed."""
        return self.root / "keys"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    def prepare_environment(self) -> None:
        """Telemetry off, known noise off, Prefect's files under this folder. What is already set is
        respected; nothing is made.

        Call it before Prefect, MLflow, DVC or transformers are imported: they read the environment
        then.
        """
        for name, value in {**QUIET, "PREFECT_HOME": str(self.prefect.absolute())}.items():
            os.environ.setdefault(name, value)
        # a state folder is begun by what is kept there, not by Prefect's being imported
        warnings.filterwarnings("ignore", "Failed to create the Prefect home directory")
        # the embedded server's SQLite prints harmless "database is locked" tracebacks
        if not os.environ.get("PREFECT_API_URL"):
            os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")


def keep_out_of_git(folder: Path) -> None:
    """Let git take nothing of a folder in; what somebody wrote about that stays."""
    from erasure_core.files import write_text

    if not (folder / UNSEEN).exists():
        write_text(folder / UNSEEN, "*\n")

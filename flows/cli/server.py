"""The embedded Prefect server of a run."""

import signal


def start_server() -> None:
    """Start Prefect's embedded server, if none is named, deaf to Ctrl-C: the terminal sends that to
    both processes.

    If it stopped first, this one would wait minutes for it to come back. A child inherits the
    signals its parent blocks.
    """
    from prefect.client.orchestration import get_client

    from tasks.warm import warm

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        imports = warm()  # this process would only wait for the other one
        with get_client(sync_client=True):
            pass
        imports.join()  # what is still being imported when Python ends can bring it down
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

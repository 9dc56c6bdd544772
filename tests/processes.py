"""How tests end the processes they start."""

import subprocess


def stop(process: subprocess.Popen) -> None:
    """Ask first: a worker finishes what it polls for, which on busy cores may take minutes."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

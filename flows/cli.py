"""The `erasure` command: requests in, verdicts and pictures out.

Exit codes: 0 done (a run: promoted), 3 refused by the gate, 2 bad input, 1 failure or an audit that found something,
130 interrupted. Nothing heavy is imported before a command needs it, so that `erasure --help` answers at once.
"""

import contextlib
import errno
import functools
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec
from uuid import UUID

import typer

from erasure_core.errors import BadInput, ErasureError
from tasks.home import Home

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 3, 130
CHECK = ("metric", "value", "low", "high", "n", "limit", "verdict")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
inbox = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The inbox of deletion requests.")
app.add_typer(inbox, name="request")

debugging: ContextVar[bool] = ContextVar("debugging", default=False)
Arguments = ParamSpec("Arguments")
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="Every number the work depends on.")]
MODEL_HELP = "base, candidate, champion, a version's number, or a folder (./1 for a folder called 1)."


@app.callback()
def prepare(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and Prefect's log.")] = False) -> None:
    """Take concepts out of text-to-image models, on request, with proof. State lives in ERASURE_HOME (default .erasure)."""
    debugging.set(debug)
    if not debug:  # Prefect logs each failure with its traceback; here a failure is one line
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
        for handler in ("CONSOLE", "DEBUG"):  # the second is for Prefect's own services, which complain when they are stopped
            os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    Home.from_env().prepare_environment()


def reported(command: Callable[Arguments, int]) -> Callable[Arguments, None]:
    """Make a command whose return value is the exit code, and whose failures are one line on stderr."""

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = _failed("interrupted; what was finished is kept, the same command goes on from there", INTERRUPTED)
        except ErasureError as fault:
            code = _failed(str(fault), fault.exit_code)
        except OSError as fault:
            code = _failed(_os_error(fault), FAILED)
        except Exception as fault:
            code = _failed(f"{type(fault).__name__}: {fault}; run again with `erasure --debug ...` for the traceback", FAILED)
        raise typer.Exit(code)

    return run


def _failed(message: str, code: int) -> int:
    if debugging.get():
        traceback.print_exc()
    print("error:", " ".join(message.split()), file=sys.stderr)
    return code


def _os_error(fault: OSError) -> str:
    what = f"{fault.strerror}: {fault.filename}" if fault.strerror and fault.filename else str(fault)
    return f"{what}; free some space and run again" if fault.errno == errno.ENOSPC else what


@app.command()
@reported
def run(
    requests: Annotated[list[Path] | None, typer.Argument(metavar="[REQUEST.yaml]...", help="Without any: all pending ones.")] = None,
    params: ParamsFile = Path("params.yaml"),
    base: Annotated[str | None, typer.Option(help="Folder, or hub id as owner/name@revision, instead of the parameters'.")] = None,
    method: Annotated[str | None, typer.Option(help="How to erase, instead of the parameters' or the requests' method.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do everything again, even if the same run was answered before.")] = False,
    as_json: Json = False,
) -> int:
    """Honour deletion requests: erase, measure, gate, register, promote or refuse. Exit 0 promoted, 3 refused."""
    from erasure_core.params import read_params
    from erasure_core.requests import Ledger, read_request

    home, files = Home.from_env(), requests or []
    ledger = Ledger(home.requests)
    if fresh and not files:
        raise BadInput("--fresh does named requests again; name their files, pending ones were never done")
    wanted = [read_request(file) for file in files] or [record.request for record in ledger.pending()]
    ledger.check(wanted)
    read_params(params).with_method(method)  # before a server is started for nothing
    if not wanted:
        _show({**_released(None, home), "request_id": None} if as_json else "nothing pending")
        return DONE
    began, first = datetime.now(UTC), str(wanted[0].subject_request_id)
    with _stdout_free():
        from flows.erase import answer, erase_concepts, honour_pending

        known = answer(files, params, base, method) if files and not fresh else None
        if known is None:
            _start_server()
            records = [erase_concepts(files, params, base, fresh, method)] if files else honour_pending(params, base, method)
        else:
            records = [known]
    best = next((r for r in reversed(records) if r["promoted"]), records[-1] if records else None)
    settled = [ledger.get(request.subject_request_id) for request in wanted]
    if as_json:
        _show({**_released(best, home), "request_id": first})
    else:
        for record in records:
            _show_release(record, home, answered=datetime.fromisoformat(record["created"]) < began)
        if not files:
            for r in settled:
                _show(f"{r.request.subject_request_id}  {r.request.concept.name}: {r.state}" + _because(r.version, r.reason))
    promoted = best["promoted"] if best and files else all(r.state == "honoured" for r in settled)
    return DONE if promoted else REFUSED


@app.command()
@reported
def restore(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger and the audit log.")],
    params: ParamsFile = Path("params.yaml"),
    method: Annotated[str | None, typer.Option(help="How to erase what stays erased, instead of the champion's method.")] = None,
    as_json: Json = False,
) -> int:
    """Take an honoured request back: release without its erasure, its pictures must return. Exit 0 promoted, 3 refused."""
    from erasure_core.params import read_params
    from tasks.intake import to_restore

    home, wanted = Home.from_env(), _uuid(request_id)
    if wanted is None:
        raise BadInput(f"{request_id!r} is not a subject_request_id (a UUID); `erasure status` lists them")
    if not reason.strip():
        raise BadInput("--reason is empty; say why the erasure is taken back")
    to_restore(wanted, home)
    read_params(params).with_method(method)
    with _stdout_free():
        from flows.erase import restore_concept

        _start_server()
        record = restore_concept(wanted, reason.strip(), params, method)
    if as_json:
        _show({**_released(record, home), "request_id": str(wanted)})
    else:
        _show_release(record, home, answered=False)
    return DONE if record["promoted"] else REFUSED


@inbox.command("add")
@reported
def add_request(file: Annotated[Path, typer.Argument(metavar="REQUEST.yaml")]) -> int:
    """Put a request into the inbox; a second time changes nothing. `erasure run` honours what is pending."""
    from tasks.intake import accept_requests

    (record,) = accept_requests.fn([file], Home.from_env())
    _show(f"{record.request.subject_request_id}  {record.request.concept.name}: {record.state}" + _because(record.version, record.reason))
    return DONE


@inbox.command("list")
@reported
def list_requests() -> int:
    """Every request and what became of it, oldest first."""
    from erasure_core.requests import Ledger

    for record in Ledger(Home.from_env().requests).all():
        _show(
            f"{record.request.subject_request_id}  {record.request.concept.name}: {record.state}" + _because(record.version, record.reason)
        )
    return DONE


@app.command()
@reported
def methods(as_json: Json = False) -> int:
    """The methods of erasing: paper, cost, what each changes, how it is taken back."""
    with _stdout_free():
        from tasks.cite import methods as known

        found = known()
    if as_json:
        _show({"methods": found})
    else:
        _show("\n\n".join("\n".join([m["method"], *_labelled({k: m[k] for k in ("paper", "changes", "cost", "restore")})]) for m in found))
    return DONE


@app.command()
@reported
def cite(
    model: Annotated[int, typer.Option(min=1, help="A registered version's number.")],
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """The papers that a version rests on: of the method that made it and of the measurements that judged it."""
    from erasure_core.params import read_params

    name = read_params(params).registered_model
    with _stdout_free():
        from tasks.cite import papers
        from tasks.release import record_of

        found = papers(record_of(Home.from_env(), name, model))
    if as_json:
        _show({"model": name, "version": model, "papers": found})
    else:
        _show("\n".join(f"{p['used']}: {p['paper']}" for p in found))
    return DONE


@app.command()
@reported
def generate(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    seed: Annotated[int, typer.Option(help="Of the first picture of each prompt; the next has the next seed.")],
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures a prompt.")] = 1,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; default is that of the kept prompt set, with which runs are measured.")
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Draw pictures with the base, a registered version or any folder; the same seed gives comparable pictures."""
    from erasure_core.params import read_params
    from erasure_core.prompts import read_prompt_set

    with _stdout_free():
        from tasks.draw import draw
        from tasks.resolve import resolve_model

        settings = read_params(params)
        scale = guidance if guidance is not None else read_prompt_set(settings.prompts.kept)[0].evaluation_guidance
        folder = resolve_model(model, settings, Home.from_env())
        files = draw(folder, prompts, seed=seed, count=count, guidance=scale, sampling=settings.sampling, out=out)
    if as_json:
        _show({"model": model, "path": str(folder), "guidance": scale, "steps": settings.sampling.steps, "files": list(map(str, files))})
    else:
        _show("\n".join(map(str, files)))
    return DONE


@app.command()
@reported
def export(
    model: Annotated[str, typer.Option(help="candidate, champion or a version's number.")],
    form: Annotated[str, typer.Option("--format", help="diffusers, delta, lora or single-file.")],
    out: Annotated[Path, typer.Option(help="The folder to make (diffusers), or the folder for the one file.")],
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Hand a version out in a form that other programs read; every file says whose erasure it is."""
    from erasure_core.params import read_params

    with _stdout_free():
        from tasks.handout import export_version

        written = export_version(model, form, out, read_params(params), Home.from_env())
    _show({"model": model, "format": form, "path": str(written)} if as_json else str(written))
    return DONE


@app.command()
@reported
def purify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
    model: Annotated[
        str, typer.Option(help="candidate, champion, a version's number, or a delta's .safetensors file; made with lambda 0.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    prompt: Annotated[str, typer.Option(help="What the erased model is told: nothing, or a prompt that evokes the concept.")] = "",
    guidance: Annotated[float, typer.Option(help="Guidance scale of the erased model; 1 is the prompt alone.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="DDIM steps, each way.")] = 35,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Take the concept out of pictures: unmade with the base, made again with the erased model."""
    from dataclasses import asdict

    from erasure_core.params import read_params

    with _stdout_free():
        from tasks.handout import purify_pictures

        found = purify_pictures(images, model, out, read_params(params), Home.from_env(), prompt=prompt, guidance=guidance, steps=steps)
    if as_json:
        _show({"model": model, "prompt": prompt, "guidance": guidance, "steps": steps, "pictures": [asdict(c) for c in found]})
    else:
        for c in found:
            same = "" if c.ssim is None else f"  SSIM {c.ssim:.3f} with the original"
            _show(f"{c.file}{same}" + (", which was cropped or resized first" if c.fitted else ""))
    return DONE


@app.command()
@reported
def evaluate(
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    prompts: Annotated[Path, typer.Option(help="CSV: case_number,prompt,evaluation_seed,evaluation_guidance and, for accuracy, concept.")],
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Measure a model beside the base on anybody's prompts; judges nothing and records nothing."""
    from dataclasses import asdict

    from erasure_core.lineage import sha256_file
    from erasure_core.params import read_params

    with _stdout_free():
        from tasks.evaluate import evaluate as measured
        from tasks.resolve import resolve_model

        settings, home = read_params(params), Home.from_env()
        folder, base = (resolve_model(which, settings, home) for which in (model, "base"))
        found = measured(folder, base, prompts, settings)
    if as_json:
        facts = {
            "model": model,
            "path": str(folder),
            "base_path": str(base),
            "prompts": str(prompts),
            "prompts_sha256": sha256_file(prompts),
        }
        _show({**facts, "measurements": [asdict(m) for m in found]})
    else:
        _show("\n".join(f"{m.metric:<28} {m.value:7.3f}  ({m.low:.3f} to {m.high:.3f}, {m.n} pictures)" for m in found))
    return DONE


@app.command()
@reported
def status(as_json: Json = False) -> int:
    """Requests by state, versions with verdict and aliases, and where state lives."""
    with _stdout_free():
        from tasks.status import status as current

        now = current(Home.from_env())
    if as_json:
        _show(now)
        return DONE
    _show(f"state     {now['home']}\nregistry  {now['tracking_uri']}\ndvc       {now['dvc_remote']}")
    for state, requests in now["requests"].items():
        _show(f"{state}: {len(requests) or 'none'}")
        for request in requests:
            _show(f"  {request['subject_request_id']}  {request['concept']}" + _because(request["version"], request["reason"]))
    for found in now["models"]:
        _show(f"{found['name']}: champion {_or_none(found['champion'])}, candidate {_or_none(found['candidate'])}")
        for version in found["versions"]:
            aliases = f"  [{', '.join(version['aliases'])}]" if version["aliases"] else ""
            _show(f"  version {version['version']}  {version['verdict']}  {version['created'][:19]}{aliases}")
    return DONE


@app.command()
@reported
def audit(
    what: Annotated[str, typer.Argument(metavar="VERSION|REQUEST_ID")],
    name: Annotated[str | None, typer.Option(help="Registered model, where several have that version.")] = None,
    as_json: Json = False,
) -> int:
    """Where a version came from, or what became of a request, as recorded; and whether it still holds (exit 1 if not)."""
    request_id = _uuid(what)
    if request_id is None and not what.isdecimal():
        raise BadInput(f"{what!r} is neither a version's number nor a subject_request_id (a UUID); `erasure status` lists both")
    with _stdout_free():
        from tasks.trace import trace_request, trace_version

        home = Home.from_env()
        found = trace_request(home, request_id) if request_id else trace_version(home, int(what), name)
    if as_json:
        _show(found)
    else:
        _show_trace(found)
    for finding in found["findings"]:
        print("error:", finding, file=sys.stderr)
    return DONE if found["intact"] else FAILED


def main() -> None:
    """Entry point of the `erasure` command."""
    app(prog_name="erasure")


@contextlib.contextmanager
def _stdout_free() -> Iterator[None]:
    """Whatever libraries print goes to stderr: stdout belongs to the answer."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _start_server() -> None:
    """Start Prefect's embedded server, if none is named, deaf to Ctrl-C: the terminal sends that to both processes.

    If it stopped first, this one would wait minutes for it to come back. A child inherits the signals its parent blocks.
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


def _show(answer: str | Mapping[str, Any]) -> None:
    from erasure_core.files import pretty_json

    print(answer if isinstance(answer, str) else pretty_json(answer), end="\n" if isinstance(answer, str) else "")


def _released(record: Mapping[str, Any] | None, home: Home) -> dict[str, Any]:
    """The part of a run's record that scripts rely on; every key is there also when there was nothing to do."""
    if record is None:
        keys = ("base_sha256", "model", "chosen_lambda", "gate", "mlflow_run_id", "report")
        return {**dict.fromkeys(keys), "request_ids": [], "promoted": False, "seconds": {}}
    return {
        **{key: record[key] for key in ("request_ids", "base_sha256", "chosen_lambda", "promoted", "mlflow_run_id", "seconds")},
        "model": {
            "name": record["model_name"],
            "version": record["model_version"],
            "sha256": record["checkpoint_sha256"],
            "path": str(home.checkpoints / record["checkpoint_sha256"]),
        },
        "gate": {
            "verdict": record["gate"]["verdict"],
            "checks": [{key: check[key] for key in CHECK} for check in record["gate"]["checks"]],
        },
        "report": str(_report(record, home)),
    }


def _report(record: Mapping[str, Any], home: Home) -> Path:
    return home.runs / record["run_key"] / "report.html"


def _show_release(record: Mapping[str, Any], home: Home, answered: bool) -> None:
    version, verdict = record["model_version"], record["gate"]["verdict"]
    outcome = "promoted to champion" if record["promoted"] else "refused, the champion is unchanged"
    _show(f"{record['model_name']} version {version} ({_how(record)}): {verdict}, {outcome}")
    if answered:
        _show("  answered from the record of the same run; --fresh does it again")
    for check in record["gate"]["checks"]:
        if check["verdict"] != "pass":
            _show(f"  {check['verdict']}: {check['reason']}")
    _show(f"  report  {_report(record, home)}")
    draw = f"erasure generate PROMPT --model {version} --seed 1 --out pictures"
    _show(f"  next    {draw}" if record["promoted"] else f"  next    erasure audit {version}")


def _labelled(facts: Mapping[str, str]) -> list[str]:
    """`  label  text`, with long texts wrapped under themselves."""
    wide = max(map(len, facts)) + 4
    return [textwrap.fill(said, 120, initial_indent=f"  {key:<{wide - 2}}", subsequent_indent=" " * wide) for key, said in facts.items()]


def _how(record: Mapping[str, Any]) -> str:
    chosen = record["chosen_lambda"]
    return record["params"]["method"]["method"] + ("" if chosen is None else f", lambda {chosen:g}")


def _because(version: int | None, reason: str | None) -> str:
    return (f" by version {version}" if version is not None else "") + (f" ({reason})" if reason else "")


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _show_trace(found: Mapping[str, Any]) -> None:
    if request := found.get("request"):
        _show_requests([request])
        honouring = ", ".join(f"{v['model']} version {v['version']}" for v in found["honoured_by"])
        _show(f"honoured by {honouring or 'no version'}")
    for version in found["versions"]:
        _show_version(version)
    if found["intact"]:
        _show("audit log, records, registry and checkpoints agree")


def _show_version(version: Mapping[str, Any]) -> None:
    _show(f"{version['model']} version {version['version']}: {'promoted' if version['promoted'] else 'refused'}")
    for key in ("created", "run_key", "base_sha256", "params_sha256", "code_sha256", "git_commit", "chosen_lambda", "delta_sha256"):
        if key in version:
            _show(f"  {key:<16} {version[key]}")
    for name, sha256 in version.get("prompt_sha256", {}).items():
        _show(f"  prompt set       {sha256}  {name}")
    _show(f"  checkpoint       {version['checkpoint']['sha256']}  {version['checkpoint']['state']}")
    for m in version.get("measurements", []):
        limit = f"  limit {m['limit']:g}: {m['verdict']}" if m["limit"] is not None else ""
        _show(f"  {m['metric']:<34} {_interval(m)}{limit}")
    for move in version["alias_history"]:
        _show(f"  {move['time']}  {move['alias']}: {_or_none(move['before'])} -> {move['version']}")
    _show_requests(version["requests"])


def _interval(m: Mapping[str, Any]) -> str:
    return "not measured" if m["value"] is None else f"{m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f}, {m['n']} pictures)"


def _show_requests(requests: Sequence[Mapping[str, Any]]) -> None:
    for request in requests:
        what = f"{request['concept']} ({request['regulation']}, {request['submitted_time']}): " if "concept" in request else ""
        _show(f"  request {request['subject_request_id']}  {what}{request['state']}{_because(request.get('version'), None)}")


if __name__ == "__main__":
    main()

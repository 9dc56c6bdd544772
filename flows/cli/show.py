"""Facts in, text out."""

import codecs
import contextlib
import io
import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from erasure_core.law.gates import OF_A_PART
from erasure_core.law.life import OPEN
from erasure_core.law.lineage import steps_of
from erasure_core.redact import redacted
from erasure_core.text import code, escaped
from flows.cli.printed import RepeatedCommand, on
from tasks.home import Home
from tasks.pages.verdict import CHECKED

NAMED = 4  # steps whose time a release tells; the others are told together


def show(answer: str | Mapping[str, Any]) -> None:
    """Print text, or facts as JSON; nothing in them steers the terminal."""
    from erasure_core.files import pretty_json

    text = answer if isinstance(answer, str) else pretty_json(answer).rstrip("\n")
    with while_read():
        print("\n".join(map(escaped, text.split("\n"))), flush=True)


@contextlib.contextmanager
def while_read() -> Iterator[None]:
    """Print to standard output as long as somebody reads it: `head` stops, and that is no fault of
    a command, whose work is done.
    """
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def escape_what_cannot_be_written() -> None:
    """Let standard output write what its encoding lacks as JSON does, \\u5bae: a name in a script
    of which a terminal knows nothing would end a command whose work is done.
    """

    def written(fault: UnicodeError) -> tuple[str, int]:
        assert isinstance(fault, UnicodeEncodeError)
        return "".join(map(code, fault.object[fault.start : fault.end])), fault.end

    codecs.register_error("erasure.escaped", written)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="erasure.escaped")


def complain(message: str) -> None:
    """One line on stderr; a word that nobody reads to its end is cut."""
    line = escaped(redacted(" ".join(message.split())))
    print("error:", re.sub(r"(\S{300})\S{200,}", r"\1...", line), file=sys.stderr)


def announce(work: str, home: Home) -> None:
    """The first line of a long command, before anything heavy is imported."""
    last = _last_release(home)
    took = f"the last release took {last / 60:.1f} min" if last else "a release takes minutes"
    hint(f"{work}; state in {home.root}; {took}")


def _last_release(home: Home) -> float | None:
    """Seconds that the newest version's run took; None where no record can be read."""
    try:
        files = home.records.glob("*.json")
        newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
        seconds = json.loads(newest.read_bytes())["seconds"] if newest else {}
        return sum(steps_of(seconds).values()) or None
    # the audit names broken records
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def time_lines(seconds: Mapping[str, float]) -> list[str]:
    """Where the time of a run went, the longest step first; nothing where none was timed."""
    steps = steps_of(seconds)
    if not steps:
        return []
    longest = sorted(steps, key=steps.__getitem__, reverse=True)
    said = [f"{name} {_minutes(steps[name])}" for name in longest[:NAMED]]
    if rest := sum(steps[name] for name in longest[NAMED:]):
        said.append(f"the rest {_minutes(rest)}")
    erasing = sum(s for name, s in seconds.items() if name not in steps)
    if erasing:
        said.append(f"within these, erasing {_minutes(erasing)}")
    return [f"time    {_minutes(sum(steps.values()))}: {'; '.join(said)}"]


def _minutes(seconds: float) -> str:
    """4:05"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def released(
    record: Mapping[str, Any] | None, home: Home, asked: RepeatedCommand
) -> dict[str, Any]:
    """The part of a run's record that scripts rely on; every key is there also when there was
    nothing to do.
    """
    if record is None:
        keys = ("base_sha256", "model", "chosen_lambda", "gate", "mlflow_run_id", "report")
        return {**dict.fromkeys(keys), "request_ids": [], "promoted": False, "seconds": {}}
    return {
        **{
            key: record[key]
            for key in (
                "request_ids",
                "base_sha256",
                "chosen_lambda",
                "promoted",
                "mlflow_run_id",
                "seconds",
            )
        },
        "model": {
            "name": record["model_name"],
            "version": record["model_version"],
            "sha256": record["checkpoint_sha256"],
            "path": str(home.checkpoints / record["checkpoint_sha256"]),
        },
        "gate": _gate(record, asked),
        "report": str(report_file(record, home)),
    }


def report_file(record: Mapping[str, Any], home: Home) -> Path:
    """The page of a release."""
    return home.runs / (record["folder"] or record["run_key"]) / "report.html"


def hint(line: str) -> None:
    """One line on stderr that is no error."""
    print(escaped(" ".join(line.split())), file=sys.stderr, flush=True)


def show_release(outcome: Mapping[str, Any], home: Home, asked: RepeatedCommand) -> None:
    """A release in words: verdict, what was missed, report, next command on the same parameters."""
    version = outcome["model_version"]
    promoted = (
        "promoted to champion" if outcome["promoted"] else "refused, the champion is unchanged"
    )
    verdict = outcome["gate"]["verdict"]
    show(f"{outcome['model_name']} version {version} ({_how(outcome)}): {verdict}, {promoted}")
    if "reason" in outcome["gate"]:
        show("  this version is the base itself: nothing else is erased")
    if outcome["answered"]:
        again = "" if asked.restores else "; --fresh does it again"
        show(f"  answered from the record of the same run{again}")
    for check in outcome["gate"]["checks"]:
        if check["verdict"] != "pass":
            show(f"  {check['verdict']}: {check['reason']}")
    for line in _advice(outcome, asked):
        show(f"  {line}")
    for line in time_lines(outcome["seconds"]):
        show(f"  {line}")
    if report_file(outcome, home).exists():
        show(f"  report  {report_file(outcome, home)}")
    draw = on(asked.params, f"erasure generate PROMPT --model {version} --seed 1 --out pictures")
    audit = f"erasure audit {version} --name {shlex.quote(outcome['model_name'])}"
    show(f"  next    {draw if outcome['promoted'] else audit}")


def tried(record: Mapping[str, Any], asked: RepeatedCommand) -> dict[str, Any]:
    """What scripts are told of a trial."""
    return {
        "trial": True,
        "request_ids": record["request_ids"],
        "chosen_lambda": record["chosen_lambda"],
        "gate": _gate(record, asked),
        "seconds": record["seconds"],
        "report": record["report"],
    }


def trial_lines(record: Mapping[str, Any], asked: RepeatedCommand) -> list[str]:
    """A trial in words: verdict, what was missed, what to try, report."""
    return [
        f"trial ({_how(record)}): {record['gate']['verdict']}; nothing was registered",
        *(
            f"  {check['verdict']}: {check['reason']}"
            for check in record["gate"]["checks"]
            if check["verdict"] != "pass"
        ),
        *(f"  {line}" for line in (*_advice(record, asked), *time_lines(record["seconds"]))),
        f"  report  {record['report']}",
    ]


def _gate(record: Mapping[str, Any], asked: RepeatedCommand) -> dict[str, Any]:
    return {
        "verdict": record["gate"]["verdict"],
        "checks": [{key: check[key] for key in CHECKED} for check in record["gate"]["checks"]],
        "advice": _advice(record, asked),
    }


def _advice(record: Mapping[str, Any], asked: RepeatedCommand) -> list[str]:
    """What to try; records from before advice have none."""
    return [asked.advised(line) for line in record["gate"].get("advice", [])]


def labelled(facts: Mapping[str, str]) -> list[str]:
    """`  label  text`, with long texts wrapped under themselves."""
    wide = max(map(len, facts)) + 4
    return [
        textwrap.fill(
            said, 120, initial_indent=f"  {key:<{wide - 2}}", subsequent_indent=" " * wide
        )
        for key, said in facts.items()
    ]


def _how(record: Mapping[str, Any]) -> str:
    chosen = record["chosen_lambda"]
    return record["params"]["method"]["method"] + ("" if chosen is None else f", lambda {chosen:g}")


def because(version: int | None, reason: str | None) -> str:
    return (f" by version {version}" if version is not None else "") + (
        f" ({reason})" if reason else ""
    )


def or_none(value: object) -> str:
    return "none" if value is None else str(value)


def show_status(now: Mapping[str, Any]) -> None:
    """What `erasure status` says."""
    show(f"state     {now['home']}\nbook      {now['book']}")
    show(f"registry  {now['tracking_uri']}\ndvc       {now['dvc_remote']}")
    for state, count in now["counts"].items():
        if count or state in ("received", "ready", "honoured"):
            show(f"{state.replace('_', ' ')}: {count or 'none'}")
        for request in now["requests"][state]:
            show(f"  {request['subject_request_id']}  {_in_status(request)}")
    some, every = (sum(len(now["requests"][s]) for s in OPEN), sum(now["counts"][s] for s in OPEN))
    if some < every:
        show(f"the {some} most urgent of {every} that await their answer; `erasure due` lists all")
    for model in now["models"]:
        champion, candidate = (or_none(model[alias]) for alias in ("champion", "candidate"))
        show(f"{model['name']}: champion {champion}, candidate {candidate}")
        if model["released_now"]:
            show(f"  in progress: {model['released_now']}")
        if model["count"] > len(model["versions"]):
            show(f"  the newest {len(model['versions'])} of {model['count']} versions:")
        for version in model["versions"]:
            show(version_line(version))
    for errand in now["behind"]:
        show(f"behind: {errand}; `erasure reconcile` finishes it")


def version_line(version: Mapping[str, Any]) -> str:
    """A version in one line."""
    aliases = f"  [{', '.join(version['aliases'])}]" if version["aliases"] else ""
    return (
        f"  version {version['version']}  {version['verdict']}  {version['created'][:19]}{aliases}"
    )


def _in_status(request: Mapping[str, Any]) -> str:
    return f"{request['concept']}{because(request['version'], request['reason'])}{_until(request)}"


def show_trace(found: Mapping[str, Any]) -> None:
    for request in found.get("requests") or [found.get("request")]:
        if request is None:
            continue
        _show_requests([request])
        by = (f"{v['model']} version {v['version']}" for v in request["honoured_by"])
        show(f"honoured by {', '.join(by) or 'no version'}")
    for version in found["versions"]:
        _show_version(version)
    if found["intact"]:
        show("chain, records, registry and checkpoints agree")


def _show_version(version: Mapping[str, Any]) -> None:
    show(
        f"{version['model']} version {version['version']}: "
        f"{'promoted' if version['promoted'] else 'refused'}"
    )
    for key in (
        "created",
        "run_key",
        "base_sha256",
        "params_sha256",
        "code_sha256",
        "git_commit",
        "chosen_lambda",
        "delta_sha256",
    ):
        if key in version:
            show(f"  {key:<16} {version[key]}")
    for name, sha256 in version.get("prompt_sha256", {}).items():
        show(f"  prompt set       {sha256}  {name}")
    show(f"  checkpoint       {version['checkpoint']['sha256']}  {version['checkpoint']['state']}")
    for m in version.get("measurements", []):
        limit = f"  limit {m['limit']:g}: {m['verdict']}" if m["limit"] is not None else ""
        of_part = " (of a part)" if OF_A_PART in (m.get("reason") or "") else ""
        show(f"  {m['metric']:<34} {_interval(m)}{limit}{of_part}")
    for move in version["alias_history"]:
        show(f"  {move['time']}  {move['alias']}: {or_none(move['before'])} -> {move['version']}")
    _show_requests(version["requests"])


def _interval(m: Mapping[str, Any]) -> str:
    return (
        "not measured"
        if m["value"] is None
        else f"{m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f}, {m['n']} pictures)"
    )


def _show_requests(requests: Sequence[Mapping[str, Any]]) -> None:
    for request in requests:
        what = (
            f"{request['concept']} ({request['regulation']}, {request['submitted_time']}): "
            if "concept" in request
            else ""
        )
        show(
            f"  request {request['subject_request_id']}  "
            f"{what}{request['state']}{because(request.get('version'), None)}{_until(request)}"
        )
        for line in notice_lines(request):
            show(line)


def _until(request: Mapping[str, Any]) -> str:
    from erasure_core.law.clock import until

    return f"  {until(request['due'], request['days_left'])}".rstrip()


def notice_lines(request: Mapping[str, Any]) -> list[str]:
    """What the person must be told of an extension, and by when; nothing without one."""
    notice = request["notice"]
    return [f"  notice           {notice['tell']}, by {notice['by'][:10]}"] if notice else []

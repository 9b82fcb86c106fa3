"""The part of the page that shows trainings: result, learning curves, who holds what, who sees what."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cutlayer.records.reading import Training
from cutlayer.records.training import EVALUATION, RoundRecord, TrainingRecord
from cutlayer.report.kit.markup import Html, el, note, row, section, small, table
from cutlayer.report.kit.wording import ACCURACY, DASH, LEAKAGE_GAIN, seconds, size
from cutlayer.report.trainings.charts import MOST_CLIENTS, by_bytes, by_round, legend, who_holds_what
from cutlayer.report.trainings.groups import Curve, Group
from cutlayer.report.trainings.terminal import LEAK_HEAD, LEAK_NOTE, leak_cells, not_run, watched


def article(group: Group) -> Html:
    """All that is shown of one group."""
    title = el("p", f"Training: {group.title}", class_="split")
    parts = [_result(group), _curves(group), _holds(group), _traffic(group), _sees(group), _guarantees(group)]
    parts += [_leakage(group), _leaks(group), _watched(group)]
    return el("article", title, parts, id=group.anchor)


def _result(group: Group) -> Html:
    head = ["Protocol", "Accuracy", "Clients, mean", "Worst 10 %", "Rounds", "Up", "Down", "Client time", "Server time"]
    head += ["Client memory", "Server memory", "Duration"]
    rows = [_row(curve) for curve in group.curves]
    alone = next((run for run in group.runs if run.local is not None), None)
    if alone is not None and alone.local is not None:
        cells = [_estimate(alone.local.value, ACCURACY.interval(alone.local)), ACCURACY.value(alone.local_mean)]
        rows.append(row("Each client alone", [*cells, *[DASH] * 9]))
    major = next((run.majority for run in group.runs if not math.isnan(run.majority)), math.nan)
    if not math.isnan(major):
        rows.append(row("Always the most frequent class", [ACCURACY.value(major), *[DASH] * 10]))
    claims = list(dict.fromkeys(run.claim for run in group.runs if run.claim))
    n = group.runs[0].n_test
    seeds = sorted({run.seed for run in group.runs})
    over = f" Figures are means over the seeds {', '.join(map(str, seeds))}." if len(seeds) > 1 else ""
    return section(
        "The result",
        [el("p", claim, class_="claim") for claim in claims],
        table("Accuracy and cost of each protocol", head, [el("tbody", rows)], "numbers"),
        note(
            f"Accuracy on {n:,} test samples, with the 95 % interval of these samples. A client's accuracy is on test "
            "samples in the proportions of its own classes; the mean is over all clients, the worst 10 % are the mean "
            "of the worst tenth of them. Times are what a party computed, of the slowest client; bytes are tensors of "
            f"all clients together, without those that measure the accuracy.{over}"
        ),
    )


def _row(curve: Curve) -> Html:
    finals, runs = curve.finals, curve.runs
    unfinished = [run for run in runs if not run.finished]
    title = el("th", curve.label, small(f"{len(unfinished)} not finished" if unfinished else None), scope="row")
    if not finals:
        return row(title, [*[DASH] * 11])
    accuracy = [entry.accuracy for entry in finals if entry.accuracy is not None]
    mean = sum(found.value for found in accuracy) / len(accuracy)
    spread = ACCURACY.interval(accuracy[0])
    if len(accuracy) > 1:
        values = [found.value for found in accuracy]
        spread = f"{ACCURACY.number(min(values))} to {ACCURACY.number(max(values))}, {len(values)} seeds"
    first = curve.first
    cells = [_estimate(mean, spread), ACCURACY.value(_mean([f.mean for f in finals]))]
    cells += [ACCURACY.value(_mean([f.worst for f in finals])), f"{finals[0].round:,} of {first.planned:,}"]
    cells += [size(round(_mean([sum(e.sent(way) for e in run.rounds) for run in runs]))) for way in ("up", "down")]
    cells += [seconds(_mean([_busy(run.rounds) for run in runs]))]
    cells += [seconds(_mean([_total([e.server_s for e in run.rounds]) for run in runs]))]
    cells += [size(_greatest(c.rss_bytes for e in first.rounds for c in e.clients))]
    cells += [size(_greatest(e.server_rss_bytes for e in first.rounds))]
    return row(title, [*cells, seconds(_mean([sum(e.seconds for e in run.rounds) for run in runs]))])


def _curves(group: Group) -> Html:
    references = list[tuple[str, float]]()
    for run in group.runs:
        if run.local is not None and not references:
            references.append(("each client alone", run.local.value))
    major = next((run.majority for run in group.runs if not math.isnan(run.majority)), math.nan)
    if not math.isnan(major):
        references.append(("always the most frequent class", major))
    drawn = [by_round(group.curves, references), by_bytes(group.curves)]
    return section("Learning curves", el("div", drawn, class_="learning"), legend(group.curves))


def _holds(group: Group) -> Html | None:
    run = group.parted
    drawn = who_holds_what(run)
    if drawn is None:
        return None
    more = f" The first {MOST_CLIENTS} of {len(run.held)} clients are shown." if len(run.held) > MOST_CLIENTS else ""
    return section(
        "Who holds what",
        drawn,
        note(
            f"{run.n_train:,} training samples, divided by the law {run.partition} (seed {run.seed}, partition "
            f"{run.digest}). The area of a disk is the number of samples of a class.{more}"
        ),
    )


def _traffic(group: Group) -> Html | None:
    sent = {kind for curve in group.curves for kind in curve.first.traffic}
    kinds = sorted(sent, key=lambda kind: (kind in EVALUATION, kind.startswith("down"), kind))
    if not kinds:
        return None
    rows = [
        row(curve.label, [size(curve.first.traffic[kind]) if kind in curve.first.traffic else DASH for kind in kinds])
        for curve in group.curves
    ]
    caption = "Bytes of tensors by kind, all clients and rounds together"
    return section("What was sent", table(caption, ["Protocol", *kinds], [el("tbody", rows)], "numbers"))


def _sees(group: Group) -> Html:
    said = {curve.label: curve.first.sees for curve in group.curves if curve.first.sees}
    items = [el("li", el("b", label), ": ", " ".join(sentences)) for label, sentences in said.items()]
    return section("Who sees what while training", el("ul", items, class_="plain"))


def _guarantees(group: Group) -> Html | None:
    said = {curve.label: curve.first.guarantee for curve in group.curves if curve.first.guarantee}
    if not said:
        return None
    items = [el("li", el("b", label), ": ", sentence) for label, sentence in said.items()]
    return section("What DP-SGD protects, and what it does not", el("ul", items, class_="plain"))


def _leakage(group: Group) -> Html | None:
    rows = []
    for curve in group.curves:
        for found in curve.first.leakage:
            gain = el("td", LEAKAGE_GAIN.value(found.gain.value), small(LEAKAGE_GAIN.interval(found.gain) or None))
            rows.append(row(curve.label, [f"{found.round:,}", found.attack, gain]))
    if not rows:
        return None
    head = ["Protocol", "After round", "Attack", "Leakage gain"]
    return section(
        "What the smashed data give away",
        table("Leakage as training goes on", head, [el("tbody", rows)], "numbers"),
        note(
            "Private samples are sent through the head as it was after a round, and an attacker with samples of its "
            "own rebuilds them. 0 % is the average sample, 100 % the exact one."
        ),
    )


def _leaks(group: Group) -> Html | None:
    """What attacks have made of what the parties recorded."""
    runs = [run for run in group.runs if run.leaks]
    if not runs:
        return None
    rows = [
        row(run.label, [*leak_cells(leak)]) for run in runs for leak in run.leaks if not leak.withheld
    ]  # fmt: skip
    refused = [(run.label, text) for run in runs for text in not_run(run.leaks)]
    return section(
        "What each party can read from what it saw",
        table("Attacks on recordings", ["Training", *LEAK_HEAD], [el("tbody", rows)]) if rows else None,
        note(LEAK_NOTE) if rows else None,
        el("ul", [el("li", f"Not run: {label}, {text}") for label, text in refused]) if refused else None,
    )


def _watched(group: Group) -> Html | None:
    """What the detectors of the clients have said of the server."""
    said = [(run.label, watched(run)) for run in group.runs if run.detectors or run.alarms]
    if not said:
        return None
    return section(
        "What the clients have noticed",
        el("ul", [el("li", f"{label}: {text}") for label, text in said]),
        note("An alarm is the first suspicion of a detector that reaches its threshold, as its client reported it."),
    )


def _estimate(value: float, interval: str) -> Html:
    return el("td", ACCURACY.value(value), small(interval or None))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _total(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) if known else math.nan


def _busy(rounds: Sequence[RoundRecord]) -> float:
    """Seconds that the slowest client computed in all rounds."""
    by_client: dict[int, float] = {}
    for entry in rounds:
        for client in entry.clients:
            if not math.isnan(client.busy_s):
                by_client[client.client] = by_client.get(client.client, 0.0) + client.busy_s
    return max(by_client.values(), default=math.nan)


def _greatest(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if isinstance(value, int)]
    return max(known, default=None)


def names(trainings: Sequence[TrainingRecord]) -> str:
    """How many trainings there are, for the list of contents."""
    return f"{len(trainings)} training{'s'[: len(trainings) > 1]}"


def opening() -> Html:
    """An introduction to split learning as a way to train, for a page that shows nothing else."""
    return el(
        "header",
        el("p", "cutlayer", class_="product"),
        el("h1", "Training by clients and a server"),
        el(
            "p",
            "Several clients, each with samples of its own, train one neural network together with a server. In split "
            "learning a client computes the first layers and sends their output; the server computes the rest, and "
            "sends back how that output should change. The samples themselves stay with the clients.",
            class_="lead",
        ),
        el(
            "p",
            "This page shows how accurate the network becomes under each protocol, what was sent and computed for it, "
            "who holds which samples, and what each party sees of the others meanwhile.",
        ),
    )


def environment(trainings: Sequence[Training]) -> Html | None:
    """The trainings on the page, and the machines on which they were run."""
    if not trainings:
        return None
    head = ["Run", "Plan", "Seed", "Transport", "Started", "Machine", "Threads", "torch"]
    rows = []
    for training in trainings:
        env, record = training.env, training.record
        started = str(env.get("started") or DASH).replace("T", " ").removesuffix("Z")
        machine = f"{env.get('cores', '?')} cores of {env['cpu']}" if env.get("cpu") else DASH
        threads, packages = env.get("threads") or {}, env.get("packages") or {}
        cells = [record.plan, f"{record.seed}", record.transport or DASH, started, machine]
        rows.append(row(record.id, [*cells, str(threads.get("edge", DASH)), packages.get("torch") or DASH]))
    return section(
        "How it was trained",
        table("The trainings on this page", head, [el("tbody", rows)]),
        el("p", "Repeat one with ", el("code", "cutlayer train runs/ID/plan.toml"), "."),
    )

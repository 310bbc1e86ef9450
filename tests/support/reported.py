"""A run with made-up records of every step, and its page."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.engine.run import Run, open_run
from tasks.evaluation.decision import decide, judge, told
from tasks.evaluation.policy import parse_policy, policy_bytes, reference
from tasks.evaluation.rules import Case, Sensitivity
from tasks.intake.manifest import table, to_npy, to_parquet
from tasks.lesions import DIAGNOSES
from tasks.pipeline import PIPELINE
from tasks.records.balance import Balance
from tasks.records.evaluated import Evaluated, MissedMelanoma
from tasks.records.ingested import Ingested
from tasks.records.oversampled import Oversampled
from tasks.records.record import Artifact, Provenance
from tasks.records.registered import Registered
from tasks.records.split import Split, Stratum
from tasks.records.trained import Epoch, Trained, TrainedRecipe
from tasks.records.validated import Finding, Validated
from tasks.records.verdict import Verdict
from tasks.reporting.report import report
from tasks.statistics.proportions import proportion
from tests.support.judged import evaluated_of, figures_of

STEPS = [step.name for step in PIPELINE]
HOSTILE = '<script>alert("x")</script>'
PX = 24
PER_CLASS = 7


def make_run(store: Path, name: str = "first") -> Run:
    return open_run(f"{store}/runs/{name}", Retraining(epochs=3), step="test")


def make_records(run: Run, *, found: int = 30, image_prefix: str = "ISIC_") -> dict[str, Any]:
    """Records of a whole run, with the artifacts that they name."""
    parts, shard = _images(run, image_prefix)
    counts = dict.fromkeys(DIAGNOSES, PER_CLASS)
    evaluated = _evaluated(run, found, str(parts["image_id"].iloc[0]))
    verdict = verdict_on(run, evaluated)
    records: dict[str, Any] = {
        "ingest": Ingested(
            manifest=run.keep("manifest.parquet", to_parquet(parts.drop(columns=["side"]))),
            shards=(shard,),
            packed_px=PX,
            files=70,
            decoded=69,
            fetched=68,
            tables={"raw/metadata/labels.csv": 70},
            ignored=("raw/readme.txt",),
            rows_without_image=0,
            rows_without_image_examples=(),
            synthetic=image_prefix.startswith("SYNTHETIC"),
        ),
        "validate": _validated(run, parts),
        "split": Split(
            parts=run.keep("parts.parquet", to_parquet(parts)),
            proof=run.keep("proof.csv", b"key\n"),
            left_out=run.keep("left_out.csv", b"key\n"),
            counts={"train": counts, "validation": counts, "test": counts},
            groups={"train": 50, "validation": 8, "test": 9},
            strata=(
                Stratum(
                    by="source",
                    name="HAM10000",
                    groups={"train": 41, "validation": 1, "test": 2},
                    chance=1e-6,
                ),
            ),
            bridging=2,
        ),
        "check_balance": Balance(
            counts=counts | {"nevus": 20},
            rarest="melanoma",
            dominating="nevus",
            imbalance_ratio=2.9,
            target=20,
            plan=dict.fromkeys(DIAGNOSES, 13) | {"nevus": 0},
            capped=(),
            finding="nevus dominates.",
        ),
        "oversample": Oversampled(copies=shard, shards=(), counts=dict.fromkeys(DIAGNOSES, 20)),
        "train": trained_by(shard),
        "evaluate": evaluated,
        "gate": verdict,
    }
    if verdict.decision == "pass":
        records["register"] = Registered(
            name="melanoma_classifier",
            version=7,
            alias="challenger",
            newly=True,
            model_sha256="0" * 64,
            evidence=shard,
        )
    return {
        name: record.with_provenance(_provenance(run, name)) for name, record in records.items()
    }


def _images(run: Run, prefix: str) -> tuple[pd.DataFrame, Artifact]:
    number = len(DIAGNOSES) * PER_CLASS
    pixels = np.random.default_rng(1).integers(0, 255, (number, PX, PX, 3), np.uint8)
    shard = run.keep("shard.npy", to_npy(pixels))
    rows = [
        {
            "key": f"raw/Train/{name}/{prefix}{index:07d}.jpg",
            "image_id": f"{prefix}{index:07d}",
            "label": name,
            "size_bytes": 1,
            "shard": shard.key,
            "shard_sha256": shard.sha256,
            "index": index,
        }
        for index, name in enumerate(name for name in DIAGNOSES for _ in range(PER_CLASS))
    ]
    return table(rows).assign(side="test"), shard


def _validated(run: Run, parts: pd.DataFrame) -> Validated:
    quarantine = "key,image_id,label,law,reason,counterpart\n" + "".join(
        f"raw/{n}.jpg,{n},nevus,contradictory_label,the same image id twice,\n" for n in range(5)
    )
    finding = {"severity": "error", "consequence": "quarantined", "remark": "as 2 of 3 know"}
    return Validated(
        accepted=run.keep("accepted.parquet", to_parquet(parts)),
        quarantine=run.keep("quarantine.csv", quarantine.encode()),
        findings=(
            Finding(
                law="contradictory_label",
                description="One image, one label.",
                count=5,
                examples=("ISIC_0000001",),
                **finding,
            ),
            Finding(law="undecodable", description="Decodes.", count=0, examples=(), **finding),
        ),
        data_docs=(run.keep("data_docs/index.html", b"<p>"),),
        expectations_met=10,
        expectations=11,
        quarantined=5,
        classes=dict.fromkeys(DIAGNOSES, PER_CLASS),
        groups=dict.fromkeys(DIAGNOSES, PER_CLASS),
        relabelled=0,
        changes=None,
    )


def epochs_of(number: int, first_validation_loss: float = 1.9) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(
            loss=2.0 / (n + 1),
            accuracy=0.3 + 0.5 * n / number,
            val_loss=first_validation_loss if n == 0 else 1.5 / n,
            val_accuracy=0.3 + 0.3 * n / number,
            val_balanced_accuracy=0.4,
            seconds=1.0,
        )
        for n in range(number)
    )


def trained_by(model: Artifact, epochs: tuple[Epoch, ...] = epochs_of(3)) -> Trained:
    return Trained(
        classes=DIAGNOSES,
        recipes=tuple(
            TrainedRecipe(
                recipe=recipe,
                model=model,
                parameters=1_234_567,
                images=180,
                epochs=epochs,
                best_epoch=len(epochs),
                finding=f"{recipe} had not finished learning.",
                mlflow_run="abc",
            )
            for recipe in ("baseline", "balanced")
        ),
    )


def _evaluated(run: Run, found: int, missed_image: str) -> Evaluated:
    model = run.keep("model.keras", b"model")
    own = figures_of(30, 32, 70, 91, DIAGNOSES)
    recalled = {
        name: each.model_copy(update={"recall": proportion(5, PER_CLASS)})
        for name, each in own.per_class.items()
    }
    figures = own.model_copy(
        update={
            "sensitivity": proportion(found, 32),
            "per_class": recalled,
            "confusion": tuple(
                tuple(5 if i == j else 2 if j == (i + 1) % 9 else 0 for j in range(9))
                for i in range(9)
            ),
        }
    )
    missed = ((missed_image,), ("ISIC_9999998", "ISIC_9999999"))[: 32 - found]
    return evaluated_of(
        figures,
        recipe="balanced",
        model=model,
        validation_sensitivity=proportion(20, 21),
        validation_balanced_accuracy={"baseline": 0.51, "balanced": 0.62},
        missed=tuple(
            MissedMelanoma(image_ids=ids, probability=0.1, by_champion=None, saliency=None)
            for ids in missed
        ),
        predictions=model,
    )


EXACT = "Clopper-Pearson, one-sided, by lesion"


def verdict_on(run: Run, evaluated: Evaluated) -> Verdict:
    """What the gate says of these figures, had it a split to look at."""
    policy = parse_policy(policy_bytes("synthetic"), "synthetic")
    case = Case(
        evaluated=evaluated, leaks=0, same_test_part=True, earlier_evaluations=0, synthetic=True
    )
    asked = Sensitivity(rule="sensitivity", at_least=0.80, method=EXACT, why="as for patients")
    rules = judge(policy.model_copy(update={"rules": (asked, policy.rules[2])}), case)
    return Verdict(
        decision=decide(rules),
        rules=rules,
        reason=told(rules),
        warnings=(),
        policy=reference(policy, b""),
        leaks=0,
        earlier_evaluations=0,
    )


def _provenance(run: Run, step: str) -> Provenance:
    return Provenance(
        step=step,
        run=run.name,
        config=run.config,
        code="c0de" * 16,
        fingerprint="f" * 64,
        inputs={},
        reused_from="earlier" if step == "ingest" else None,
        committed_at="2026-01-02T03:04:05+00:00",
        seconds=12.3,
        peak_memory_bytes=456_000_000,
        machine="x86_64, 2 cores",
    )


def commit(run: Run, records: dict[str, Any]) -> None:
    for name, record in records.items():
        run.store.replace(run.key("record.json", name), record.model_dump_json().encode())


def page_of(run: Run, records: dict[str, Any]) -> str:
    commit(run, records)
    return run.store.read(report(run)).decode()


class Page(HTMLParser):
    """The text a reader sees, the addresses it refers to, and its tags."""

    VOID = frozenset({"meta", "img", "br", "wbr", "link", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.addresses, self.tags = "", list[str](), list[str]()
        self.open, self.hidden = list[str](), 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text.replace("\u00a0", " ").replace("\u202f", " "))

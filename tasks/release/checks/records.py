"""Check the bundle's files and records: sealed, unchanged, each record made from earlier ones."""

import json

from tasks.engine.environment import plain
from tasks.engine.ledger import RECORDING
from tasks.records.record import sha256
from tasks.release.checks.flaw import flaw
from tasks.release.evidence import (
    FIRST,
    FORMAT,
    MANIFEST,
    SECOND,
    SIGNATURE,
    STEPS,
    Bundle,
    places,
)
from tasks.release.gaps import GAPS


def the_manifest_is_sealed(bundle: Bundle, expected: str | None = None) -> str:
    manifest = bundle.manifest
    if manifest.format not in (FIRST, SECOND, FORMAT):
        raise flaw("its format is not known", FORMAT, manifest.format[:100])
    if manifest.data != bundle.manifest_data or manifest.sealed() != manifest:
        raise flaw(f"{MANIFEST} was changed", "the seal over its own content", manifest.seal)
    if expected and sha256(bundle.manifest_data) != expected:
        raise flaw(
            "it is not the bundle that was registered", expected, sha256(bundle.manifest_data)
        )
    return "the manifest is as it was sealed"


def every_file_is_there_unchanged(bundle: Bundle) -> str:
    named = set(bundle.manifest.files)
    there = bundle.paths() - {MANIFEST, SIGNATURE, GAPS}
    for path in sorted(named - there):
        raise flaw(f"{path} is missing", f"{len(named)} files", f"{len(there)} files")
    for path in sorted(there - named):
        raise flaw(f"{path} was added", f"{len(named)} files", f"{len(there)} files")
    for path in sorted(named):
        bundle.read(path)
    if bundle.gaps is None:
        return f"{len(named)} files are there, none was changed or added"
    return f"{len(named)} files are there, none was changed or added but by an erasure"


def only_what_was_erased_is_missing(bundle: Bundle) -> str:
    """Check the gaps: of sealed files, and of no more images than were erased."""
    gaps = bundle.gaps
    if gaps is None:
        return "nothing was erased since it was sealed"
    for path, hole in sorted(gaps.files.items()):
        file = bundle.manifest.files.get(path)
        if file is None or file.sha256 != hole.was:
            raise flaw(
                f"the gap in {path} is not of this bundle",
                file.sha256 if file else "a file of the bundle",
                hole.was,
            )
    if len(bundle.erased) > gaps.images:
        raise flaw(
            "more images are gone than were erased", f"{gaps.images}", f"{len(bundle.erased)}"
        )
    return gaps.in_words


def the_records_follow_from_each_other(bundle: Bundle) -> str:
    records = {step.name: bundle.record(step.name) for step in STEPS}
    for step in STEPS:
        came = records[step.name].provenance
        if came is None or (came.step, came.run) != (step.name, bundle.manifest.run):
            raise flaw(
                f"the record of {step.name} is not one of this run",
                f"{step.name} of {bundle.manifest.run}",
                f"{came.step} of {came.run}" if came else "no provenance",
            )
        since = dict(step.since)
        for need in step.needs:
            if came.format < since.get(need, 0) and need not in came.inputs:
                continue
            if came.inputs.get(need) != records[need].content_hash:
                raise flaw(
                    f"{step.name} was not made from this record of {need}",
                    str(came.inputs.get(need)),
                    records[need].content_hash,
                )
    return f"the {len(records)} records follow from each other"


def the_records_vouch_for_the_files(bundle: Bundle) -> str:
    vouched = 0
    for step in STEPS:
        for path, artifact in places(step.name, bundle.record(step.name)).items():
            file = bundle.manifest.files.get(path)
            if file is None or file.sha256 != artifact.sha256:
                raise flaw(
                    f"{path} is not what the record of {step.name} vouches for",
                    artifact.sha256,
                    file.sha256 if file else "no such file",
                )
            vouched += 1
    return f"the records vouch for {vouched} of the files"


def the_ledger_is_one_chain(bundle: Bundle) -> str:
    if bundle.manifest.format == FIRST:
        return "there is no ledger in a bundle of the first format"
    chain = bundle.ledger()
    named = {step: getattr(bundle.record(step), "ledger", None) for step in RECORDING}
    for step, head in named.items():
        if head is None or not chain.holds(head):
            raise flaw(
                f"the ledger does not hold what {step} recorded",
                f"entry {head.number}, {head.sha256}" if head else "the head of a ledger",
                f"{len(chain.entries)} entries",
            )
    if chain.head != named["gate"]:
        raise flaw("the ledger goes on after the verdict", str(named["gate"]), str(chain.head))
    return f"the ledger is one chain of {len(chain.entries)} entries, and ends at the verdict"


def the_libraries_are_listed(bundle: Bundle) -> str:
    """Check the bill of materials. A bundle may lack one, if the tool was not installed."""
    installed = json.loads(bundle.read("environment.json"))["distributions"]
    if "sbom.cdx.json" not in bundle.manifest.files:
        return f"{len(installed)} libraries are named; there is no bill of materials"
    listed = json.loads(bundle.read("sbom.cdx.json"))
    found = {plain(each["name"]): each["version"] for each in listed["components"]}
    for name in sorted(set(found) ^ set(installed)):
        raise flaw("the bill of materials is of other libraries", "those installed", name)
    return f"the bill of materials lists the {len(installed)} libraries that were installed"

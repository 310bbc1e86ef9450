"""Check the judge of images, and what is told of its refusals."""

from tasks.evaluation.answerable import Answerable
from tasks.evaluation.refusals import REFUSED, answered, grounds_of
from tasks.records.evaluated import Evaluated
from tasks.records.refusals import RefusedKind
from tasks.records.split import Split
from tasks.release.checks.flaw import check_same, first_difference, flaw, record_of
from tasks.release.evidence import FIRST, SECOND, Bundle
from tasks.release.golden import golden_from
from tasks.statistics.proportions import lower_bound, proportion


def the_refusals_follow_from_the_predictions(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    tables = {"": bundle.table("evaluate", evaluated.predictions)}
    for each in evaluated.external:
        if each.predictions:
            tables[each.name] = bundle.table("evaluate", each.predictions)
    told = evaluated.refusals
    if told is None:
        with_grounds = {name for name, table in tables.items() if REFUSED in table}
        check_same("no predictions hold refusals, for no judge is told of", with_grounds, set())
        return "no judge of images is told of, and no image was refused"
    again = tuple(answered(name, table, evaluated.threshold) for name, table in tables.items())
    kinds = tuple(_again(each) for each in told.kinds)
    validation = proportion(told.validation.successes, told.validation.n)
    difference = first_difference(
        (told.lesions, told.kinds, told.validation), (again, kinds, validation)
    )
    if difference:
        raise flaw("a refusal does not follow from the predictions", *difference)
    return (
        f"{again[0].refused.successes} of {again[0].refused.n} lesions of the test part are refused"
    )


def _again(told: RefusedKind) -> RefusedKind:
    """The bounds of a kind, made anew; its images are not in the bundle."""
    hits, n = told.refused.successes, told.refused.n
    return told.model_copy(
        update={"refused": proportion(hits, n), "at_least": lower_bound(hits, n)}
    )


def the_judge_says_the_same_of_the_golden_images(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    if evaluated.refusals is None:
        return "no judge of images is there to be asked"
    judge = Answerable.from_bytes(bundle.file_of("evaluate", evaluated.refusals.judge))
    if bundle.manifest.format in (FIRST, SECOND):
        return "the judge of images can be read, and there are no golden images"
    golden, _ = golden_from(bundle.read)
    parts = bundle.table("split", record_of(bundle, Split).parts)
    rows = parts[parts["side"] == "test"].drop_duplicates("image_id").set_index("image_id")
    now = grounds_of(judge, rows.loc[list(golden.image_ids)], golden.pixels)
    predictions = bundle.table("evaluate", evaluated.predictions)
    then = predictions.drop_duplicates("image_id").set_index("image_id")[REFUSED]
    near = judge.close(golden.pixels)
    for name, said, close in zip(golden.image_ids, now, near, strict=True):
        if bool(then[name]) != bool(said) and not close:
            raise flaw(
                f"the judge of images says otherwise of golden image {name} than the predictions",
                said or "it can be judged",
                str(then[name]) or "it can be judged",
            )
    return f"the judge of images says the same of {len(now)} golden images, asked anew" + (
        f"; {int(near.sum())} are too close to a limit to tell" if near.any() else ""
    )

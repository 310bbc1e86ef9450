"""Decide by rules whether a training over- or underfits, and explain the curves in words."""

from tasks.figures import percent, plural
from tasks.recipes import recipe_now
from tasks.records.trained import Epoch, Fit, FitKind, TrainedRecipe

# The public notebooks call a gap of 0.10 in accuracy overfitting. A rise of the loss by a tenth is
# more than the noise between two epochs.
ACCURACY_GAP = 0.10
LOSS_RISE = 1.10
# A network that explains less than a quarter of the training part's entropy has not learned it.
EXPLAINED = 0.25


def fit_of(epochs: tuple[Epoch, ...], best: int, prior_loss: float) -> Fit:
    """Decide whether a training over- or underfits.

    Args:
        epochs: Figures of the epochs, at least one.
        best: The epoch with the lowest validation loss, from 1.
        prior_loss: Cross-entropy, in nats, of a model that always answers with the class shares.
    """
    last, kept = epochs[-1], epochs[best - 1]
    gap = last.accuracy - last.val_accuracy
    rose = last.val_loss > LOSS_RISE * kept.val_loss
    if last.loss > (1 - EXPLAINED) * prior_loss:
        kind: FitKind = "underfits"
    elif gap > ACCURACY_GAP:
        kind = "overfits" if rose else "overfits mildly"
    elif best == len(epochs):
        kind = "had not finished learning"
    else:
        kind = "neither over- nor underfits"
    return Fit(
        kind=kind,
        epochs=len(epochs),
        best=best,
        accuracy=last.accuracy,
        val_accuracy=last.val_accuracy,
        loss=last.loss,
        lowest_val_loss=kept.val_loss,
        val_loss=last.val_loss,
        prior_loss=prior_loss,
    )


def in_words(trained: TrainedRecipe) -> str:
    """The finding as a sentence. Records of earlier versions hold only the sentence."""
    fit = trained.fit
    name = recipe_now(trained.recipe)
    if fit is None:
        told = trained.finding.removeprefix(f"{trained.recipe} ")
        return trained.finding if told == trained.finding else f"{name} {told}"
    said = (
        f"{name} {fit.kind}: after {plural(fit.epochs, 'epoch')} accuracy is "
        f"{percent(fit.accuracy)} in training and {percent(fit.val_accuracy)} in validation; "
        f"validation loss is lowest at epoch {fit.best} ({fit.lowest_val_loss:.3f}) and ends at "
        f"{fit.val_loss:.3f}"
    )
    if fit.kind == "underfits":
        return (
            f"{said}. Its training loss of {fit.loss:.3f} is not far below the "
            f"{fit.prior_loss:.3f} of answering with the class shares alone."
        )
    if fit.kind == "overfits":
        return (
            f"{said}. It goes on learning the training images by heart; the weights of epoch "
            f"{fit.best} are kept."
        )
    if fit.kind == "overfits mildly":
        return f"{said}. The gap in accuracy is {percent(fit.gap)}; {_risen(fit)}."
    if fit.kind == "had not finished learning":
        return f"{said}: its last epoch is its best."
    return f"{said}."


def _risen(fit: Fit) -> str:
    """How validation loss changed after its lowest value, in words."""
    rise = fit.val_loss / fit.lowest_val_loss - 1 if fit.lowest_val_loss else 0.0
    if fit.best == fit.epochs or rise <= 0:
        return "validation loss has not risen"
    return (
        f"validation loss has risen by {percent(rise, 1)} since its lowest, less than the "
        f"{percent(LOSS_RISE - 1)} that count as overfitting"
    )

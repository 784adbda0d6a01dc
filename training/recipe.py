"""How a network is fitted: each choice on one line with its reason; docs/recipe.md has what each was measured at."""

from dataclasses import dataclass
from typing import Literal

Augmentation = Literal["none", "crop", "trivial"]


@dataclass(frozen=True)
class Recipe:
    """The choices of one fit.

    Attributes:
        epochs: how often the training photos are seen; 0: the linear probe alone.
        probe: whether the head of a wholly pretrained network starts as a linear probe of its features, not at zero.
        batch_size: photos a step, over all processes; None: 32, and fewer of few photos.
        train_size, last_size: side of the training squares in pixels, at first and for the last third of the epochs;
            None: the backbone's own choice.
        learning_rate: of the head and of tensors that start from nothing.
        last_share, first_share: of that rate, for the last and the first pretrained stage; geometric in between.
        weight_decay: of AdamW.
        warm_up: share of all steps over which the rates rise before they fall along a cosine.
        label_smoothing: how far targets move from 0 and 1 towards a half, times two.
        averaged_epochs: the weights kept are an exponential average over about so many epochs; 0: the last ones.
        keep_norms: whether the batch norms of a wholly pretrained network keep their mean and variance.
        frozen: the last pretrained stage that stays as it is, as do those before it: its edges and colours serve any
            photo, and a fit takes half the time; None: all learn.
        augmentation: what is done to a training photo.
        class_weights: whether both classes weigh the same, however many photos they have.
        teacher_share: of the target, where there are teachers; the label is the rest.
        views: how many augmented crops of each photo the teachers answer; the student sees one an epoch, in turn.
        auxiliary_share: what an auxiliary exit's loss adds, relative to that of the head.
    """

    epochs: int = 12
    probe: bool = True  # features are not pulled towards a head that knows nothing yet (arXiv:2202.10054)
    batch_size: int | None = None
    train_size: int | None = None  # small squares are quick,
    last_size: int | None = None  # larger ones then fit the network to what it is served (arXiv:1906.06423)
    learning_rate: float = 1e-3
    last_share: float = 0.1  # pretrained stages know a lot already,
    first_share: float = 0.1  # the first ones edges and colours that any photo has
    weight_decay: float = 0.05
    warm_up: float = 0.1
    label_smoothing: float = 0.1  # a label of a scraped photo is wrong now and then (arXiv:1512.00567)
    averaged_epochs: float = 1.0
    keep_norms: bool = True  # a batch of 32 augmented squares says less of photos than a million of them did
    frozen: str | None = None
    augmentation: Augmentation = "crop"  # stronger ones (arXiv:2103.10158) need longer fits than most people make
    class_weights: bool = False
    teacher_share: float = 0.9  # arXiv:2106.05237 takes all; a tenth keeps what a person has checked
    views: int = 3
    auxiliary_share: float = 0.3  # arXiv:1409.4842

    def batch(self, photos: int) -> int:
        """Return how many of so many photos make a step: a small folder needs its steps, an epoch at least 32."""
        return self.batch_size or max(8, min(32, photos // 32))

    def large_epochs(self) -> int:
        """Return how many epochs, the last ones, see the larger squares."""
        return round(self.epochs / 3)

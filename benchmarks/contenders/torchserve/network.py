"""The network that an archive's weights are of."""

from torchvision.models.resnet import BasicBlock, ResNet


class OneLogit(ResNet):
    """ResNet-18 with one logit."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=1)

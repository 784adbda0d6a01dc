"""What a version says about itself: model card, HTML report, and the other files beside the model."""

"""Files that describe a version: model card, HTML report, metrics, photos and findings."""

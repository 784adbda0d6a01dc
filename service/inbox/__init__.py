"""The inbox: photos that wait for a person's decision, before they may be trained on."""

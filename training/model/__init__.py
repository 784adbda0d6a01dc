"""The classifier: backbone, fit, linear probe, distillation, calibration and familiarity."""

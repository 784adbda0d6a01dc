"""The network: backbone, classifier, fit, linear probe, distillation and calibration."""

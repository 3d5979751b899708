"""Pictures of confidences, thresholds and risks. Each display is exported by `metrics`."""

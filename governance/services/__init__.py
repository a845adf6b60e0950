"""The verbs of governance, by subject: versions, incidents, retraining, processing, slos."""

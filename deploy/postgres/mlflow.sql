-- MLflow keeps its runs and model registry beside the portal's tables, in a database of its own.
CREATE DATABASE mlflow;

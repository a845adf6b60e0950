"""Training, export, quantisation and packaging of the models a gateway runs.

Worker side only: scikit-learn, skl2onnx, onnx, onnxruntime and cryptography, arrays in and frozen dataclasses out.
No Django: the services of this app call these functions from background jobs and store what they return.
"""

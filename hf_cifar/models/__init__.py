"""Owns the models; importing this package registers CifarCnn with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from .configuration_cifar_cnn import CifarCnnConfig
from .modeling_cifar_cnn import CifarCnnForImageClassification, CifarCnnModel

AutoConfig.register(CifarCnnConfig.model_type, CifarCnnConfig, exist_ok=True)
AutoModel.register(CifarCnnConfig, CifarCnnModel, exist_ok=True)
AutoModelForImageClassification.register(CifarCnnConfig, CifarCnnForImageClassification, exist_ok=True)
# For `save_pretrained`: copy the two .py files beside the weights and name them in `auto_map`.
CifarCnnConfig.register_for_auto_class()
CifarCnnModel.register_for_auto_class("AutoModel")
CifarCnnForImageClassification.register_for_auto_class("AutoModelForImageClassification")

__all__ = ["CifarCnnConfig", "CifarCnnForImageClassification", "CifarCnnModel"]

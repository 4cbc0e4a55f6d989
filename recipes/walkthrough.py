# ---
# jupyter:
#   jupytext:
#     cell_markers: '"""'
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
"""
# Image classification, from pixels to a verdict.

This lesson goes through one whole project in image classification, in the order in which you would do it:

(1) look at the data, (2) split it, (3) augment it, (4) build a convolutional network and follow an image through
it, (5) check it before training, (6) train it with early stopping, (7) evaluate it, (8) read its confusion
matrix, (9) take a network that was trained on other images, (10) compare the two, (11) ask whether the
difference is real, (12) discuss. Exercises are at the end.

It calls the package `hf_cifar` for everything, so each step is a few lines. Where a step interests you, read
the function that it calls. Every number in the text is computed by the cell above it.

Two environment variables set what it does:

| variable | default | meaning |
|---|---|---|
| `HF_CIFAR_DATASET` | `sample` | `sample`: 1,500 images inside the package. `auto`: all of CIFAR-10 |
| `HF_CIFAR_WALKTHROUGH_DIR` | `runs/walkthrough` | the folder, in the repository, that it writes to |

Run it with `HF_CIFAR_DATASET=auto jupyter execute recipes/walkthrough.ipynb`, or open it and run cell by cell.
"""

# %%
import contextlib
import io
import math
import os
import shutil
import time
import warnings
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # progress bars would fill the page
warnings.filterwarnings("ignore", "IProgress not found")

import numpy as np
import pandas as pd
import torch
import transformers
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure
from transformers import TrainingArguments, set_seed

import hf_cifar
from hf_cifar.arguments import DataArguments, ModelArguments, RecipeArguments
from hf_cifar.data.batches import ImageBatches
from hf_cifar.data.split import CIFAR10_VALIDATION_SHA256, hash_indices, prepare_tables
from hf_cifar.data.statistics import choose_preprocessing, measure_channels
from hf_cifar.data.store import map_images, read_column, read_images
from hf_cifar.data.table import load_data
from hf_cifar.data.transforms import ImageTransform
from hf_cifar.evaluation.cost import count_flops, count_parameters
from hf_cifar.evaluation.metrics import build_compute_metrics, compute_all_metrics
from hf_cifar.evaluation.predictions import predict_probabilities
from hf_cifar.evaluation.results import read_results
from hf_cifar.evaluation.statistics import compare_models
from hf_cifar.hardware import describe_hardware
from hf_cifar.models.loading import build_cifar_cnn, find_classifier, load_for_fine_tuning, load_model
from hf_cifar.parser import RecipeParser
from hf_cifar.reporting.explore import count_classes, draw_balance, draw_classes, draw_feature_map
from hf_cifar.reporting.explore_augmentation import draw_augmentations, draw_each_augmentation
from hf_cifar.reporting.figures import (
    draw_class_scores,
    draw_confusion_matrices,
    draw_learning_curves,
    draw_sample_predictions,
)
from hf_cifar.reporting.formatting import format_count, format_estimate, format_seconds
from hf_cifar.reporting.image_grids import draw_captioned, draw_strips
from hf_cifar.training.fit import fit, get_precision
from hf_cifar.training.frozen import get_features
from hf_cifar.training.run_folder import clear_run_folder, save_model
from hf_cifar.training.trainer import get_training_defaults

transformers.logging.set_verbosity_error()
started = time.perf_counter()
ROOT = Path(hf_cifar.__file__).parents[1]
FOLDER = ROOT / os.environ.get("HF_CIFAR_WALKTHROUGH_DIR", "runs/walkthrough")
DATASET = os.environ.get("HF_CIFAR_DATASET", "sample")
CACHE = FOLDER / "cache"
shutil.rmtree(CACHE / "features", ignore_errors=True)  # with those of an earlier run, this one would look cheaper

# %% [markdown]
"""
Three helpers: one shows a figure, one shows text with numbers in it, one reads a recipe. A recipe is a YAML
file with the options of one run; what we pass besides wins over it, as on the command line of `recipes/train.py`.
"""


# %%
def show(figure: Figure, description: str) -> None:
    """Show a figure; the description is for those who cannot see it."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=90, bbox_inches="tight")
    display(Image(picture.getvalue(), alt=description))


def say(text: str) -> None:
    """Show Markdown."""
    display(Markdown(text))


def read_recipe(
    name: str, run: str, *words: str
) -> tuple[DataArguments, ModelArguments, RecipeArguments, TrainingArguments]:
    """The options of `recipes/<name>.yaml`, changed by `words`, for a run whose earlier files are deleted."""
    clear_run_folder(FOLDER / run, keep_checkpoints=False)
    parser = RecipeParser(DataArguments, ModelArguments, RecipeArguments, TrainingArguments)
    parser.set_defaults(**get_training_defaults())
    words = [f"--dataset={DATASET}", f"--output_dir={FOLDER / run / 'checkpoints'}", "--disable_tqdm=true", *words]
    return parser.parse([f"--config={ROOT / 'recipes' / name}.yaml", *words])[:4]


# %% [markdown]
"""
## 1. Look at the data

Before any model: look. CIFAR-10 (Krizhevsky 2009) has colour images of 32 x 32 pixels in ten classes. What to
look at: can *you* tell the classes apart at this size? Which ones would you confuse? Are the objects centred,
are they always whole, does the background give the class away?
"""

# %%
data_args, model_args, recipe, args = read_recipe("cnn/baseline", "cnn")
data = load_data(data_args)
class_names = data.class_names
print(f"Data: {data.name} from {data.source}: {len(data.train):,} training and {len(data.test):,} test images, "
      f"{data.image_size} x {data.image_size} pixels, {len(class_names)} classes")  # fmt: skip
if data.is_sample:
    print("NOTE: this is the bundled sample. It runs the lesson quickly; its numbers say nothing about the models.")
show(draw_classes(data.train), "training images of each class")

# %% [markdown]
"""
Is every class as frequent as the others? If not, accuracy would flatter a model that bets on the large ones,
and the split below would have to take care of the small ones.
"""

# %%
train, validation = prepare_tables(data.train, data_args)
counts = count_classes({"train": train, "validation": validation, "test": data.test})
show(draw_balance(counts, class_names), "images per class")
largest, smallest = max(counts["train"]), min(counts["train"])
chance = max(counts["test"]) / len(data.test)
say(f"The largest class has {largest:,} training images and the smallest {smallest:,}. A model that always answers "
    f"with one class would reach {chance:.0%} test accuracy: that is the level to beat.")  # fmt: skip

# %% [markdown]
"""
## 2. Split it

Three parts with three jobs. The network learns from **train**. Everything that *we* decide (when to stop, which
settings) is decided on **validation**. **Test** is used once, at the end, because a number that was optimised
is no longer an estimate.

The split keeps the classes' shares, and depends on a seed and on each image's place in the official order
alone. So it is the same on every machine; its fingerprint shows that.
"""

# %%
fingerprint = hash_indices(read_column(validation, "index"))
print(f"train {len(train):,}, validation {len(validation):,}, test {len(data.test):,}")
print(f"validation images: SHA-256 {fingerprint[:16]}...", end="")
print(", the published split" if fingerprint == CIFAR10_VALIDATION_SHA256 else "")

# %% [markdown]
"""
Pixels are numbers from 0 to 255. A network learns faster from numbers around 0, so we subtract each channel's
mean and divide by its standard deviation, measured on training images only.
"""

# %%
preprocessing = choose_preprocessing(data.name, train, data.image_size)
mean, std = measure_channels(train)
print("measured here:    mean", mean, "standard deviation", std)
print("used in training: mean", preprocessing.mean, "standard deviation", preprocessing.std)

# %% [markdown]
"""
## 3. Augment it

A mirrored or slightly moved cat is still a cat. Showing the network another version in each epoch teaches it
that, and makes it harder to learn the images by heart. Only training images are augmented.

First, what our recipe does. A row is one image, a column one epoch. What to look at: would you still give each
picture the same label?
"""

# %%
pictures = ImageBatches(train, ImageTransform(preprocessing, seed=args.seed))
show(draw_augmentations(pictures, data_args), "one image of each class over ten epochs")

# %% [markdown]
"""
Then what else there is, on one image. Mixup and cutmix mix the labels as well: half a cat counts as half a cat.
"""

# %%
show(draw_each_augmentation(pictures), "one image under each augmentation")

# %% [markdown]
"""
The draws depend on the seed, the epoch and the image, and on nothing else. Epoch 3 looks the same whenever it
is made, and by whichever process, so a run can be repeated exactly.
"""

# %%
batches = ImageBatches(train, ImageTransform(preprocessing, data_args, args.seed))
first, again, other = (batches.fetch(torch.arange(50), epoch)["pixel_values"] for epoch in (3, 3, 4))
print(f"epoch 3 twice: equal is {torch.equal(first, again)}; epochs 3 and 4: equal is {torch.equal(first, other)}")

# %% [markdown]
"""
## 4. The network, layer by layer

The textbook network of `recipes/cnn/baseline.yaml`. Its parts:

- a **convolution** slides 3 x 3 filters over the image; each filter looks for one pattern and gives one
  channel;
- **batch normalisation** keeps the numbers around 0 from layer to layer;
- **ReLU** sets what is negative to 0; without it, a stack of layers would be no more than one layer;
- **max-pooling** keeps the largest of each 2 x 2 pixels: half the height and width, and small shifts no longer
  matter;
- **dropout** blanks numbers at random while training, so that no single one is relied upon;
- **fully connected** layers turn what is left into one number per class, the *logits*.

What to look at below: height and width shrink while channels grow, from *where* to *what*. And where are most
of the parameters?
"""

# %%
set_seed(args.seed)
cnn = build_cifar_cnn(model_args.model_config, class_names, data.image_size)
layers = []


def note_layer(layer: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    """Called by each layer when an image passes."""
    kind, size = type(layer).__name__, count_parameters(layer)
    layers.append({"layer": kind, "out: (batch, channels, height, width)": tuple(output.shape), "parameters": size})


leaves = [layer for layer in cnn.modules() if not list(layer.children()) and not isinstance(layer, torch.nn.Identity)]
hooks = [layer.register_forward_hook(note_layer) for layer in leaves]
plain = ImageBatches(train, ImageTransform(preprocessing))  # not augmented
image = plain.fetch(torch.arange(1), epoch=0)["pixel_values"]
with torch.no_grad():
    cnn.eval()(image)
for hook in hooks:
    hook.remove()
layers = pd.DataFrame(layers).set_index("layer")
display(layers)

# %%
heaviest, total = layers["parameters"].idxmax(), count_parameters(cnn)
most, flops = layers["parameters"].max(), format_count(count_flops(cnn, data.image_size))
say(f"The image enters as {tuple(image.shape)} and leaves as {len(class_names)} logits. Of {total:,} parameters, "
    f"{most:,} ({most / total:.0%}) are in one {heaviest} layer. One image costs {flops} floating-point operations, "
    "most of them in the convolutions.")  # fmt: skip

# %% [markdown]
"""
## 5. Check it before training

**The loss at initialisation.** A fresh network knows nothing, so it should give each of K classes a probability
near 1/K. The cross-entropy of that is ln(K). A first loss far above means that the network starts with strong
wrong opinions: wrong initialisation, wrong normalisation of the input, or labels that do not fit the outputs.
"""

# %%
batch = plain.fetch(torch.arange(50), epoch=0)
with torch.no_grad():
    initial_loss = cnn.eval()(**batch).loss.item()
expected = math.log(len(class_names))
say(f"Expected: ln({len(class_names)}) = {expected:.3f}. Found: {initial_loss:.3f}, "
    f"{'close' if abs(initial_loss - expected) < 0.3 else 'too far: find out why before training'}.")  # fmt: skip

# %% [markdown]
"""
**Overfit one batch.** A network that can learn at all can learn 50 images by heart in seconds. If the loss does
not go to nearly 0, there is a mistake somewhere between the labels and the optimiser, and training for hours
would not mend it.
"""

# %%
optimizer = torch.optim.Adam(cnn.train().parameters(), lr=args.learning_rate)
steps = []
for step in range(1, 41):
    loss = cnn(**batch).loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    steps.append({"epoch": step, "loss": loss.item()})
with torch.no_grad():
    right = cnn.eval()(batch["pixel_values"]).logits.argmax(-1) == batch["labels"]
show(draw_learning_curves({"one batch, one step per epoch": steps}), "loss on one batch")
verdict = "The network can learn." if right.all() else "Something is wrong: find it now."
say(f"After {len(steps)} steps the loss is {steps[-1]['loss']:.3f} and {right.sum()} of the {len(right)} images are "
    f"classified rightly. {verdict}")  # fmt: skip

# %% [markdown]
"""
## 6. Train it

`fit` puts the stock `Trainer` of transformers together from the recipe and runs it. After each epoch it
evaluates on the validation images. **Early stopping** ends the run when validation accuracy has not improved
for a few epochs, and the weights of the best epoch are kept. (The Trainer prints its log as it goes; the table
below says the same.)
"""

# %%
words = ["--num_train_epochs=30", "--per_device_train_batch_size=50"] if data.is_sample else ["--num_train_epochs=8"]
data_args, model_args, recipe, args = read_recipe("cnn/baseline", "cnn", "--early_stopping_patience=3", *words)
compute_metrics = build_compute_metrics(len(class_names))
set_seed(args.seed)
cnn = build_cifar_cnn(model_args.model_config, class_names, data.image_size)  # a new one: that above has learnt
with contextlib.redirect_stdout(io.StringIO()):
    cnn_outcome = fit(cnn, preprocessing, train, validation, args, data_args, recipe, compute_metrics, cache_dir=CACHE)
save_model(cnn, preprocessing, FOLDER / "cnn")
columns = ["epoch", "learning_rate", "loss", "validation_loss", "validation_accuracy"]
display(pd.DataFrame(cnn_outcome.history)[columns].set_index("epoch").round(4))

# %%
show(draw_learning_curves({"CNN": cnn_outcome.history}), "loss and validation accuracy by epoch")
best, last = max(cnn_outcome.history, key=lambda row: row["validation_accuracy"]), cnn_outcome.history[-1]
stopped = cnn_outcome.epochs < args.num_train_epochs
gap = last["validation_loss"] - last["loss"]
falls = last["validation_loss"] == min(row["validation_loss"] for row in cnn_outcome.history)
advice = (
    "Validation loss was lowest in the last epoch, so longer training may still help."
    if falls
    else "Validation loss was lower before: the network begins to learn its images by heart, and more images or more "
    "augmentation may help more than more epochs."
)
say(f"{'Early stopping ended the run' if stopped else 'The run used all its epochs'}: {cnn_outcome.epochs:.0f} of "
    f"{args.num_train_epochs:.0f}. The best epoch is {best['epoch']:.0f}, with {best['validation_accuracy']:.1%} of "
    f"the validation images; its weights are kept. It took {format_seconds(cnn_outcome.train_seconds)}, at "
    f"{cnn_outcome.train_images_per_second:,.0f} images per second, in {get_precision(args)}.\n\n"
    f"In the last epoch, validation loss minus training loss is {gap:+.2f}. (Training has the harder task: its images "
    f"are augmented, and dropout is on.) {advice}")  # fmt: skip

# %% [markdown]
"""
What has it learnt? The first stage's channels for a few validation images, each as a grey picture (bright: the
filter has found its pattern). What to look at: which channels keep edges, which keep areas of one colour, and are
there some that stay dark?
"""

# %%
shown = np.unique(read_column(validation, "label"), return_index=True)[1][:5].tolist()
with torch.no_grad():
    pixels = preprocessing(torch.from_numpy(read_images(validation.select(shown)).copy()).permute(0, 3, 1, 2))
    maps = cnn.eval()(pixels.to(cnn.device), output_hidden_states=True).hidden_states[1].float().cpu()  # (B, C, H, W)
maps = (255 * maps / maps.amax((0, 2, 3), keepdim=True).clamp(min=1e-6)).byte()
scale = data.image_size // maps.shape[-1]
rows = []
for row, image in enumerate(read_images(validation.select(shown))):
    grey = maps[row, :12].repeat_interleave(scale, 1).repeat_interleave(scale, 2)[..., None].expand(-1, -1, -1, 3)
    rows.append((class_names[validation[shown[row]]["label"]], np.concatenate([image[None], grey.numpy()])))
show(
    draw_strips(rows, "What the first stage keeps of an image", ["image", *range(1, 13)]),
    "channels of the first stage",
)

# %% [markdown]
"""
## 7. Evaluate it

Now the test images, once. The model is loaded from its folder as anybody else would load it, and sees images
through its own image processor.

Accuracy is one number. For each class there are two more:

- **precision**: of the images that the model *calls* cat, how many are cats?
- **recall**: of the images that *are* cats, how many does it find?
- **F1** is their harmonic mean; *macro* means the average over classes, each counting alike.

The brackets are 95 % intervals: had we drawn other test images from the same source, the numbers would differ
about as much. They are found by the bootstrap: draw as many images as there are, with replacement, 2,000 times,
and see how much each number moves.
"""

# %%
labels = read_column(data.test, "label")
images, positions = map_images(data.test)


def evaluate(folder: Path, args: TrainingArguments) -> tuple[np.ndarray, dict]:
    """Test probabilities, (N, K), and metrics of the model in a folder."""
    model, processor = load_model(str(folder))
    probabilities = predict_probabilities(model, processor, images, args.device, get_precision(args), rows=positions)
    return probabilities, compute_all_metrics(probabilities, labels, class_names)


def make_score_row(metrics: dict) -> dict[str, str]:
    """The scores that this lesson compares."""
    macro = {f"macro {name}": format_estimate(metrics["macro"][name]) for name in ("precision", "recall", "f1")}
    return {"accuracy": format_estimate(metrics["accuracy"])} | macro


cnn_probabilities, cnn_metrics = evaluate(FOLDER / "cnn", args)
display(pd.DataFrame({"CNN, test": make_score_row(cnn_metrics)}))
show(draw_class_scores({"CNN": cnn_metrics["per_class"]}), "F1 of the CNN by class")

# %% [markdown]
"""
## 8. Read the confusion matrix

Rows are true classes, columns what the model answered; the diagonal is right. All the scores above come from
this table. What to look at: the dark cells off the diagonal, and whether they are symmetric.
"""

# %%
show(
    draw_confusion_matrices({"CNN, test": cnn_metrics["confusion_matrix"]}, class_names), "confusion matrix of the CNN"
)
matrix = np.array(cnn_metrics["confusion_matrix"])
worst = min(class_names, key=lambda name: cnn_metrics["per_class"][name]["f1"]["value"])
k = class_names.index(worst)
correct, called, actual = matrix[k, k], matrix[:, k].sum(), matrix[k].sum()
precision, recall = correct / max(called, 1), correct / max(actual, 1)
say(f"By hand, for the hardest class, **{worst}**: {actual:,} images are {worst}, {called:,} are called {worst}, "
    f"{correct:,} are both. Precision {correct:,} / {called:,} = {precision:.3f}, recall {correct:,} / {actual:,} = "
    f"{recall:.3f}, F1 {2 * precision * recall / max(precision + recall, 1e-9):.3f}. The package says "
    f"{cnn_metrics['per_class'][worst]['f1']['value']:.3f}.")  # fmt: skip

# %% [markdown]
"""
The most frequent mistakes, and pictures of the first. What to look at: would you have known better?
"""

# %%
mistakes = pd.DataFrame(matrix, index=class_names, columns=class_names).stack()
mistakes = mistakes[[true != answer for true, answer in mistakes.index]].sort_values(ascending=False, kind="stable")
display(mistakes.head(5).rename_axis(["true", "answer"]).to_frame("images"))
true, answer = mistakes.index[0]
cnn_predicted = cnn_probabilities.argmax(1)
found = np.flatnonzero((labels == class_names.index(true)) & (cnn_predicted == class_names.index(answer)))[:12]
captions = [f"{answer} {cnn_probabilities[row].max():.0%}" for row in found]
show(
    draw_captioned(images[positions[found]], captions, f"Called {answer}, but {true}"),
    "images of the most frequent mistake",
)

# %% [markdown]
"""
## 9. Take a network that has seen other images

**Transfer learning.** EfficientNet-Lite0 was trained on a million photographs of 1,000 classes (ImageNet). Its
last layer is of no use to us, but what enters that layer, the *features*, describes images in general. So we
freeze the network, compute each image's features once, and train only a new last layer on them.

The network wants larger images than ours, so they are enlarged first. That adds no detail; it brings objects to
the size that its filters know.
"""

# %%
words = ["--per_device_train_batch_size=100", "--image_size=96"] if data.is_sample else ["--image_size=128"]
data_args, model_args, recipe, args = read_recipe("efficientnet/lite0-frozen", "transfer", *words)
set_seed(args.seed)
backbone, backbone_preprocessing, base_model = load_for_fine_tuning(model_args, class_names, CACHE)
with contextlib.redirect_stdout(io.StringIO()):
    transfer_outcome = fit(
        backbone, backbone_preprocessing, train, validation, args, data_args, recipe, compute_metrics,
        cache_dir=CACHE, head_only=True, from_scratch=False, model_args=model_args,
    )  # fmt: skip
save_model(backbone, backbone_preprocessing, FOLDER / "transfer")
trained = count_parameters(find_classifier(backbone))
best = max(transfer_outcome.history, key=lambda row: row["validation_accuracy"])
say(f"Of {count_parameters(backbone):,} parameters we trained {trained:,}. Computing the features of "
    f"{len(train) + len(validation):,} images at {backbone_preprocessing.image_size} pixels took "
    f"{format_seconds(transfer_outcome.feature_seconds)}; training the last layer on them took "
    f"{format_seconds(transfer_outcome.train_seconds)} for {transfer_outcome.epochs:.0f} epochs. Best epoch: "
    f"{best['epoch']:.0f}, with {best['validation_accuracy']:.1%} of the validation images.")  # fmt: skip

# %% [markdown]
"""
The features of the validation images, squeezed from many dimensions to two. The network has never been told our
classes. What to look at: which ones are apart already, and which lie on top of each other? (Two dimensions show
only a part of it.)
"""

# %%
features = get_features(backbone, validation, backbone_preprocessing, CACHE, args.device, get_precision(args))
print("features of the validation images, read from the cache:", tuple(features.shape))
show(draw_feature_map(features.float().numpy(), read_column(validation, "label"), class_names, base_model["name"]),
     "features in two dimensions")  # fmt: skip

# %% [markdown]
"""
## 10. Compare

The same test images and the same code for both. Operations and parameters are those of one model in use; the seconds
include computing the features.
"""

# %%
transfer_probabilities, transfer_metrics = evaluate(FOLDER / "transfer", args)
metrics = {"CNN": cnn_metrics, "transfer": transfer_metrics}
predicted = {"CNN": cnn_predicted, "transfer": transfer_probabilities.argmax(1)}
cost = {
    "CNN": {
        "training (s)": cnn_outcome.train_seconds,
        "operations per image": count_flops(cnn, preprocessing.image_size),
        "parameters": count_parameters(cnn),
    },
    "transfer": {
        "training (s)": transfer_outcome.train_seconds + transfer_outcome.feature_seconds,
        "operations per image": count_flops(backbone, backbone_preprocessing.image_size),
        "parameters": count_parameters(backbone),
    },
}
display(pd.DataFrame({name: make_score_row(each) for name, each in metrics.items()}))
display(pd.DataFrame(cost).map(format_count))
show(draw_class_scores({name: each["per_class"] for name, each in metrics.items()}), "F1 of both models by class")

# %% [markdown]
"""
Which images does only one of them get right? What to look at: is there a pattern, such as texture for the one
and shape for the other?
"""

# %%
hits = {name: classes == labels for name, classes in predicted.items()}
only_cnn, only_transfer = hits["CNN"] & ~hits["transfer"], hits["transfer"] & ~hits["CNN"]
found = np.concatenate([np.flatnonzero(only_cnn)[:6], np.flatnonzero(only_transfer)[:6]])
answers = {
    name: [(class_names[each[row].argmax()], each[row].max()) for row in found]
    for name, each in (("CNN", cnn_probabilities), ("transfer", transfer_probabilities))
}
headings = ["only the CNN" if only_cnn[row] else "only transfer" for row in found]
truths = [class_names[label] for label in labels[found]]
show(
    draw_sample_predictions(images[positions[found]], truths, answers, headings),
    "images that only one model gets right",
)

# %% [markdown]
"""
## 11. Is the difference real?

Two accuracies differ. Would they on other images, or was it luck? Both models saw the *same* images, and that
helps: the images on which they agree say nothing about who is better. Two ways to ask:

- **McNemar's test** looks at the images that only one model gets right. If neither were better, each would win
  about half of them, like a fair coin. The p-value is how often a fair coin would be at least as one-sided.
- **The paired bootstrap** draws the test images again, with replacement, and looks at how the *difference* of
  the two accuracies moves. If its 95 % interval leaves out 0, the difference is unlikely to be luck.
"""

# %%
(pair,) = compare_models(hits)
both, neither = int((hits["CNN"] & hits["transfer"]).sum()), int((~hits["CNN"] & ~hits["transfer"]).sum())
table = pd.DataFrame(
    [[both, pair["only_first"]], [pair["only_second"], neither]],
    index=["CNN right", "CNN wrong"],
    columns=["transfer right", "transfer wrong"],
)
display(table)
low, value, high = (100 * pair["difference"][key] for key in ("low", "value", "high"))
p_text = "< 0.0001" if pair["p_value"] < 1e-4 else f"= {pair['p_value']:.4f}"
is_tie = pair["verdict"] not in ("better", "worse")
say(f"CNN minus transfer: **{value:+.2f} points**, 95 % interval {low:+.2f} to {high:+.2f}. They disagree on "
    f"{pair['only_first'] + pair['only_second']:,} images, of which the CNN wins {pair['only_first']:,} and transfer "
    f"{pair['only_second']:,}: p {p_text}.\n\n"
    + ("**A tie at this sample size.** " + (f"About {pair['images_needed']:,} test images would be needed to tell."
                                            if pair["images_needed"] else "They are equally accurate.")
       if is_tie else f"**The {'CNN' if pair['verdict'] == 'better' else 'transfer model'} is better** on images such "
                      "as these: a difference like this is hardly luck."))  # fmt: skip

# %% [markdown]
"""
What this does *not* say: that the better recipe would win again with another seed. Both models were trained
once. For that you would train each with several seeds (`--seed 1`, `--seed 2`, ...) and give all runs to
`recipes/compare.py`.

## 12. Discuss

A comparison is more than accuracy. Who wins on what, from the numbers above:
"""

# %%
best_in_accuracy = "tie" if is_tie else pair["first" if pair["verdict"] == "better" else "second"]
ratios = {what: max(each[what] for each in cost.values()) / min(each[what] for each in cost.values())
          for what in cost["CNN"]}  # fmt: skip
winners = {"accuracy": best_in_accuracy} | {what: min(cost, key=lambda name: cost[name][what]) for what in ratios}
notes = {"accuracy": f"{abs(value):.1f} points apart"}
notes |= {what: f"{ratio:.1f} times less" for what, ratio in ratios.items()}
display(pd.DataFrame({"wins": winners, "by": notes}))

# %%
light, heavy = sorted(cost, key=lambda name: cost[name]["operations per image"])
accuracies = " and ".join(f"{each['accuracy']['value']:.1%} ({name})" for name, each in metrics.items())
say(f"- **Accuracy.** {accuracies}: {'a tie' if is_tie else best_in_accuracy + ' wins'} with these settings. The "
    "pretrained network brings what it learnt from a million photographs; the CNN has seen nothing but our "
    f"{len(train):,}. The fewer labels there are, the more that should count: see the exercises.\n"
    f"- **Training.** The CNN went forward and backward for {cnn_outcome.epochs:.0f} epochs. Transfer ran its network "
    "forward, once per image; trying another setting of its last layer costs another "
    f"{format_seconds(transfer_outcome.train_seconds)}, because the features are kept.\n"
    f"- **Use.** Per image, {heavy} needs {ratios['operations per image']:.1f} times the operations of {light}, which "
    "is the one for a small device.\n"
    "- **Control.** The CNN is ours from its first weight on. A pretrained network comes with its data, its licence "
    "and its mistakes.")  # fmt: skip

# %% [markdown]
"""
Neither model here is the best of its kind: the CNN was trained briefly, and the pretrained network was frozen.
What full runs reach on CIFAR-10, from the published `model_cards/*/results.json`:
"""

# %%
published = [read_results(path.parent) for path in sorted((ROOT / "model_cards").glob("*/results.json"))]
rows = [
    {
        "model": each["model"]["name"],
        "test accuracy": format_estimate(each["metrics"]["test"]["accuracy"]),
        "training": format_seconds(each["cost"]["train_seconds"] + each["cost"]["feature_seconds"]),
        "on": each["environment"]["hardware"],
        "parameters": format_count(each["model"]["parameters"]),
    }
    for each in sorted(published, key=lambda each: each["metrics"]["test"]["accuracy"]["value"])
]
display(pd.DataFrame(rows).set_index("model"))
print(f"This lesson took {format_seconds(time.perf_counter() - started)} on {describe_hardware()}.")

# %% [markdown]
"""
## Exercises

1. **Fewer labels.** Pass `--images_per_class=50` to the first `read_recipe`, from which the training images come.
   Who wins now, and is the difference significant?
2. **No augmentation.** Train the CNN with `--augmentation=none`. How does the gap between training and validation
   loss change?
3. **Break it.** Pass a `--learning_rate` a hundred times higher to the first `read_recipe`, or shuffle the labels of
   the batch in section 5. What do its checks say, before you train?
4. **Another network.** Change `model_args.model_config` (`depths`, `hidden_sizes`, `final_pooling`). Predict shapes
   and number of parameters first, then run section 4.
5. **Fine-tune.** Use `recipes/efficientnet/lite0.yaml`, which trains all of the pretrained network. What does it
   gain, and what does it cost?
6. **Another seed.** Train the CNN twice with different seeds and compare the two with `compare_models`. On how many
   images do they disagree, and is one of them "better"?
7. **Your own images.** Set `HF_CIFAR_DATASET` to a folder of images, one subfolder per class. What has to change?
"""

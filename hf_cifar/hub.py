"""Owns how the libraries deal with the Hugging Face Hub: whether it can be reached, asked once per process."""

import functools
import logging
import os
import urllib.error
import urllib.request

import datasets
from huggingface_hub import constants

logger = logging.getLogger(__name__)


@functools.cache
def is_hub_reachable(timeout: float = 5.0) -> bool:
    """Whether the Hub answers, by one short request; without this, every lookup would wait about 25 s to fail.

    Any HTTP answer counts as reachable. `HF_HUB_OFFLINE=1` means no without asking.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError) as error:
        logger.info("The Hub at %s cannot be reached: %s", constants.ENDPOINT, error)
        return False
    return True


def stay_offline() -> None:
    """Tell the libraries what `is_hub_reachable` found, so that `datasets` looks into its cache and asks no server."""
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def refuse_conversion() -> None:
    """Keep transformers from having a Hub id's pickled weights converted by a Space.

    That would open a pull request in the user's name, and load weights that are not those of the recorded commit.
    """
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

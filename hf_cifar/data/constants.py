"""Owns the facts about CIFAR-10: names, sizes, channel statistics and content hashes (Krizhevsky 2009)."""

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SIZE = 32
PIXEL_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3

# Per-channel mean and standard deviation of the 50,000 training images, in [0, 1].
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

BLOCK_SIZE = 10_000
# SHA-256 of each official batch, decoded to uint8 (10000, 32, 32, 3), in the official order.
TRAIN_BLOCK_SHA256 = {
    "data_batch_1": "fc115a3de050d667b88cbd5b0b9612ebf996c54230fe7758f3a14bb5af9a1c27",
    "data_batch_2": "89e609b642f687bc796fa3bfa4211005582a0e8131d463d996d11ddb297d312e",
    "data_batch_3": "93a365823e61729490a8801d80864ccd0ab1e8c98f19d71af65644d1c5f1486e",
    "data_batch_4": "809eb95ecd057a36516318f5023ea619009dd70dd38193db9da43125a928e6fa",
    "data_batch_5": "d05b7d66d216d6df882cc760cdc0ff2f1f0437abf699ed16005c021ef0add9cb",
}
TEST_BLOCK_SHA256 = {"test_batch": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"}
# SHA-256 of the labels as uint8, in the official order.
LABELS_SHA256 = {
    "train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}

# Test images with a near-duplicate among the training images, at a similarity of 0.85 or more; docs/data.md.
NEAR_DUPLICATES = 243

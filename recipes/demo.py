"""Try one or two models in a browser.

    python recipes/demo.py MODEL [MODEL] [--dataset sample] [--port 7860]

Drop a picture or pick a test image: each model's five most probable classes, where it looked, and the test images
that the two disagree on. MODEL is a run folder, or any image classifier on disk or on the Hub. The page is served to
this machine alone unless --host or --share says otherwise. docs/publishing.md says more.
"""

from hf_cifar.arguments import SourceArguments
from hf_cifar.data.table import load_data
from hf_cifar.demo.app import build_app, import_gradio, launch
from hf_cifar.demo.classifier import load_classifiers
from hf_cifar.demo.gallery import compute_test_predictions, group_examples, read_test_predictions
from hf_cifar.errors import UserError
from hf_cifar.evaluation.results import get_source
from hf_cifar.parser import RecipeParser, run_recipe


@run_recipe
def main() -> None:
    """Load, build, serve."""
    parser = RecipeParser(SourceArguments, description=__doc__)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="Run folder, other folder, or Hub id; at most two.")
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen at; 0.0.0.0 for the whole network.")
    parser.add_argument("--port", type=int, help="Default: the first free one from 7860 on.")
    parser.add_argument("--share", action="store_true", help="Make it public for a week, through Gradio's servers.")
    parser.add_argument("--trust_remote_code", action="store_true", help="Run Python files that come with a model.")
    parser.add_argument(
        "--predict", action="store_true",
        help="Predict the test images of a model that comes without predictions, for those the two disagree on.",
    )  # fmt: skip
    source, options = parser.parse()
    import_gradio()  # before anything slow, in case it is not there
    if len(options.models) > 2:
        raise UserError(f"{len(options.models)} models; allowed: one or two")
    classifiers = load_classifiers(options.models, options.trust_remote_code, source.cache_dir)
    results = next((each.results for each in classifiers if each.results), None)
    data = load_data(get_source(results, source) if results else source)
    predictions = [read_test_predictions(name, data) for name in options.models]
    if options.predict:
        pairs = zip(classifiers, predictions, strict=True)
        predictions = [compute_test_predictions(model, data) if kept is None else kept for model, kept in pairs]
    if len(predictions) == 2 and any(each is None for each in predictions):
        print("No predictions of these test images beside both models; --predict makes them, to see where they differ")
    app = build_app(classifiers, group_examples(data, predictions))
    launch(app, options.host, options.port, options.share, report=print)


if __name__ == "__main__":
    main()

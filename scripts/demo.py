"""Try a fine-tuned model on a web page, in Korean and without a network.

python scripts/demo.py --model outputs/kcbert-base-nsmc    # then open the address that it prints

The page shows what the model decides and how sure it is, the words that this rests on, and what was too long to be
read. It has two text boxes for a model of pairs, and a number for a regression.
"""

import argparse
import errno
import ipaddress
import json
import logging
import socket

from pipeline.modeling.files import ModelFiles, fetch_model
from pipeline.runtime.cli import command
from pipeline.runtime.errors import UserError
from pipeline.runtime.logging import configure_logging
from pipeline.runtime.run_dir import RESULTS

logger = logging.getLogger("pipeline.demo")


@command
def main() -> None:
    configure_logging()
    options = parse()
    files = fetch_model(options.model, options.revision)  # a missing model is reported before the slow imports
    try:
        from pipeline.inference.demo_page import build_page, serve
    except ModuleNotFoundError as error:
        raise UserError(f"the demo needs Gradio ({error}): pip install -e '.[demo]'") from error
    from pipeline.inference.classifier import load_classifier

    with listen(options.host, options.port) as listener:
        address = listener.getsockname()
        if not ipaddress.ip_address(address[0]).is_loopback:
            logger.warning("--host %s: anyone who can reach this machine can open the page.", options.host)
        classifier = load_classifier(options.model, options.revision)
        page = build_page(classifier, options.model, label_range(files))
        host = f"[{options.host}]" if ":" in options.host else options.host
        print(f"The page is at http://{host}:{address[1]} until you press Ctrl-C.", flush=True)
        serve(page, listener)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="A folder that scripts/train.py wrote, or a model on the Hub.")
    parser.add_argument("--revision", default="main", help="Branch, tag or commit on the Hub.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="Address to listen on. 0.0.0.0: other machines too. Default: 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=7860, help="Port to listen on. 0: any free one. Default: 7860.")
    return parser.parse_args()


def label_range(files: ModelFiles) -> tuple[float, float] | None:
    """The smallest and the largest number of a regression's test data, if the model's folder has its scores."""
    try:
        low, high = json.loads((files.folder / RESULTS).read_text(encoding="utf-8"))["test"]["label_range"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return low, high


def listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded, which can be slow.

    Raises:
        UserError: the port is in use or out of range, or the address is not one of this machine.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--port is {port}; expected 0 to 65535.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is in use, perhaps by another demo. Stop that one, or choose another port: "
                f"--port {min(port + 1, 2**16 - 1)}, or --port 0 for any free one."
            ) from error
        raise UserError(f"cannot listen on --host {host} --port {port}: {error.strerror}") from error


if __name__ == "__main__":
    main()

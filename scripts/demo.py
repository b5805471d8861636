"""Try a fine-tuned model on a page in the browser, which is in Korean and needs no network.

python scripts/demo.py --model outputs/kcbert-base-nsmc    # then open the address that it prints

It shows the label and its probability, the words that carried it, and what was too long to be read.
"""

import argparse
import errno
import socket

from pipeline.errors import UserError
from pipeline.fetch import fetch_model
from pipeline.launch import command, start_logging


@command
def main() -> None:
    logger = start_logging()
    args = parse_arguments()
    fetch_model(args.model, args.revision)  # a model that is not there is said before the slow imports
    try:
        from pipeline.demo_page import build_page, serve
    except ModuleNotFoundError as error:
        raise UserError(f"the demo needs Gradio ({error}): pip install -e '.[demo]'") from error
    from pipeline.inference import load_classifier

    start_logging()  # again: transformers is there now, and with it its progress bars
    with listen(args.host, args.port) as listener:
        if not args.host.startswith("127.") and args.host not in ("localhost", "::1"):
            logger.warning("Whoever reaches this machine can open the page: --host %s, no password", args.host)
        page = build_page(load_classifier(args.model, args.revision), args.model)
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"The page is at http://{host}:{listener.getsockname()[1]} until you press Ctrl-C.", flush=True)
        serve(page, listener)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Try a fine-tuned model on a page in the browser.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="a folder that scripts/train.py wrote, or a model on the Hub")
    parser.add_argument("--revision", default="main", help="branch, tag or commit on the Hub")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: for other machines too")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; 0: any that is free")
    return parser.parse_args()


def listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded, which may take a while.

    Raises:
        UserError: the port is taken or no port, or the address is not one of this machine.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: ports go from 0 to 65535.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is taken, perhaps by another demo that still runs. Stop that one, or choose "
                f"another port: --port {min(port + 1, 2**16 - 1)}, or --port 0 for any that is free."
            ) from error
        raise UserError(f"cannot listen on --host {host} --port {port}: {error.strerror}") from error


if __name__ == "__main__":
    main()

"""Write the page of a finished run: scores, curves, calibration, where it is wrong, its most confident mistakes.

python scripts/report.py outputs/kcbert-base-nsmc
python scripts/report.py outputs/kcbert-base-nsmc --output nsmc.html --no_explain

scripts/train.py does it at its end. The page is one file that needs nothing but a browser.
"""

import argparse
from pathlib import Path

from pipeline.runtime.cli import command
from pipeline.runtime.logging import configure_logging


@command
def main() -> None:
    configure_logging()
    options = parse()

    from pipeline.report.report import write_report
    from pipeline.runtime.devices import use_all_cores

    use_all_cores()
    print(write_report(options.run, options.output, explain=not options.no_explain))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="A folder that scripts/train.py wrote.")
    parser.add_argument("--output", type=Path, help="The page. Default: report.html in that folder.")
    parser.add_argument(
        "--no_explain", action="store_true", help="Do not load the model to show which words carried its mistakes."
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

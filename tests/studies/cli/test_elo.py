import subprocess
import sys
from pathlib import Path


def test_an_analysis_of_a_plain_vote_file_loads_no_torch(tmp_path: Path) -> None:
    votes = tmp_path / "votes.csv"
    votes.write_text(
        "participant,prompt_id,left,right,winner\n" + "a,p,x,y,left\nb,p,x,y,right\nb,q,y,x,left\n" * 5, "utf-8"
    )
    program = (
        "import sys; from studies.cli.main import app;"
        f"app(['elo', {str(votes)!r}, '--out', {str(tmp_path / 'report')!r}], standalone_mode=False);"
        "print(sorted({'torch', 'transformers', 'predictor.predictor'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

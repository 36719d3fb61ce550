"""A ward that never was: twenty prompts with four answers each, and a server in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from iimedgpt.io import Secret
from iimedgpt.preferences.store import Store
from iimedgpt.types import Message
from iimedgpt.web.access import key_hash, new_key
from iimedgpt.web.app import create_app
from iimedgpt.web.items import Item

SECRET = Secret(b"s" * 32)
CASES = (
    ("上腹痛3小时", "急性胃炎", "奥美拉唑 20 mg 口服，每日一次"),
    ("咳嗽、气喘2天", "支气管哮喘急性发作", "沙丁胺醇气雾剂 100 μg 按需吸入"),
    ("尿频、尿痛1天", "急性膀胱炎", "磷霉素氨丁三醇 3 g 口服一次"),
    ("右侧搏动性头痛半天", "偏头痛", "布洛芬 400 mg 口服"),
)
TEXT_OF_RECORD = "青霉素过敏（皮疹）"
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "<a href=\"javascript:document.title='owned'\">按此</a> javascript:alert(1)",
    '=HYPERLINK("http://127.0.0.1/","按此")',
    "../../../../etc/passwd",
)


def item(number: int, answers: tuple[tuple[str, str], ...] | None = None, prompt_id: str = "") -> Item:
    complaint, diagnosis, drug = CASES[number % len(CASES)]
    record = (
        f"【一般资料】女，{30 + number}岁\n【主诉】{complaint}。\n"
        f"【现病史】患者{complaint[:-2]}，夜间明显，无发热。自服药物不详，今日加重来诊。\n"
        "【既往史】体健，青霉素过敏（皮疹）。否认高血压、糖尿病病史。\n"
        "【体格检查】体温36.8℃，脉搏82次/分，呼吸18次/分，血压124/78 mmHg。神清，心肺听诊无异常，腹软。\n"
        "【辅助检查】血常规：白细胞 7.2×10⁹/L，中性粒细胞 61%，血红蛋白 132 g/L。\n"
        f"【初步诊断】{diagnosis}"
    )
    given = answers or (
        ("good", f"{drug}；注意休息，症状加重或出现高热时立即就诊。"),
        ("short", f"{drug}。"),
        ("allergic", "青霉素 V 钾 500 mg 口服，每日三次，疗程 7 天。"),
        ("vague", "可以观察，多喝热水。"),
    )
    return Item(
        item_id=f"{number:016x}",
        prompt_id=prompt_id or f"prompt-{number}",
        group_id=f"patient-{number}",
        task="treatment",
        prompt=(
            Message(role="system", content="你是临床文书助手。"),
            Message(role="user", content=f"{record}\n\n请给出治疗方案，包括用药、剂量和随访建议。"),
        ),
        answers=given,
    )


def comparison(number: int) -> Item:
    made = item(number, (("base", "多喝热水，休息。"), ("tuned", "布洛芬 400 mg 口服，必要时 6 小时后重复。")))
    turns = (
        Message(role="user", content="我头痛，怎么办？"),
        Message(role="assistant", content="多久了？有没有恶心、怕光？"),
        Message(role="user", content="半天了，有点恶心。我对青霉素过敏。"),
    )
    return Item(f"{100 + number:016x}", f"c-{number}", made.group_id, None, turns, made.answers)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The app on a free port of loopback; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, access_log=False, log_config=None, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def clinician(store: Store, name: str) -> tuple[str, str]:
    """(annotator id, key) of a new clinician."""
    key = new_key()
    return store.add_annotator(name, key_hash(key)).annotator_id, key


def app_of(store: Store, n_items: int = 20, n_comparisons: int = 0, annotators_per_item: int = 2) -> FastAPI:
    return create_app(
        store,
        SECRET,
        [item(number) for number in range(n_items)],
        [comparison(number) for number in range(n_comparisons)],
        annotators_per_item=annotators_per_item,
    )

"""The words that promised.py knows: how texts name keys and what these do, in several languages. Pure."""

# ruff: noqa: RUF001  (dashes, quotes and letters of other alphabets are what texts of games have)
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

When = Literal["title", "playing", "over", "sometimes", "unseen", ""]
"""In which situation a promise has to hold, by what the text says that the key does.

`sometimes`: only where the game has something for it, such as a door to open. `unseen`: nothing that pictures or sounds
of the page would surely show, such as full screen. Empty: the text does not say what the key does.
"""

ARROWS: Final = ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")
LETTERS: Final = ("WASD", "ZQSD", "IJKL", "HJKL")
"""Names for four letters at once."""
ARROW_KEYS: Final = (
    r"(?<!\w)(?:(?:arrow|cursor|direction(?:al)?)[ -]?keys|arrows(?! (?:left|remaining|fly|shot))|pfeiltasten"
    r"|(?:touches )?fl[èe]ch[ée]+es|(?:les |touches )flèches|(?:teclas de )?flechas|cursores|(?:tasti )?frecce|setas"
    r"|стрелк(?:и|ами))(?!\w)|矢印キー|方向键|[←→↑↓⬅➡⬆⬇]{4}"
)
"""All four arrows by one name."""

NAMED: Final[Mapping[str, tuple[str, str]]] = {
    "Space": (
        r"space[ -]?bar|space|leertaste|barre d['’]espace|espace|barra espaciadora|espacio|barra spaziatrice|spazio"
        r"|barra de espaço|espaço|пробел(?:ом)?|空格键?|スペース(?:キー)?|␣",
        r"space[ -]?bar|leertaste|barre d|barra ",
    ),
    "Enter": (r"enter|return|eingabetaste|eingabe|entrée|intro|invio|↵|⏎|回车键?", r"eingabetaste|↵|⏎"),
    "Escape": (r"escape|esc", ""),
    "Shift": (r"shift|umschalt(?:taste)?|maj|mayús|⇧", ""),
    "Control": (r"control|ctrl|strg", ""),
    "Alt": (r"alt(?=\s*\+)", ""),
    "Tab": (r"tab", ""),
    "Backspace": (r"backspace", ""),
    "ArrowLeft": (r"arrow[ -]?left|left[ -]?arrow(?: key)?|pfeil links", "arrow|left|pfeil"),
    "ArrowRight": (r"arrow[ -]?right|right[ -]?arrow(?: key)?|pfeil rechts", "arrow|right|pfeil"),
    "ArrowUp": (r"arrow[ -]?up|up[ -]?arrow(?: key)?|pfeil (?:hoch|oben)", "arrow|up|pfeil"),
    "ArrowDown": (r"arrow[ -]?down|down[ -]?arrow(?: key)?|pfeil (?:runter|unten)", "arrow|down|pfeil"),
}
"""A control's name -> how texts name it, and which of these names mean nothing else."""
BARE: Final = {"left": "ArrowLeft", "right": "ArrowRight", "up": "ArrowUp", "down": "ArrowDown"}

ACTIONS: Final[Mapping[When, str]] = {
    "over": r"restart|re-?try|(?:(?:start|begin|play|go|try)(?: it)? )?(?:all )?(?:again|anew|afresh|once more)"
    r"|(?:start|begin|play)(?: it)? (?:all )?over"
    r"|(?:new|another|one more) (?:game|round|match|try|go|run|time)"
    r"|reset|replay|respawn|revive|(?:last |from the )?checkpoint|neustart|neu (?:starten|beginnen|anfangen)"
    r"|noch ?(?:ein)?mal|de nuevo|otra vez|encore|à nouveau|ancora|di nuovo|novamente|de novo"
    r"|recommencer|rejouer|reiniciar|reintentar|riavvia(?:re)?|ricominciare|рестарт|заново|重新开始",
    "title": r"start(?:en)?|begin|play|go(?! back)|new(?!s)|spielen|commencer|démarrer|jouer|empezar|jugar|comenzar"
    r"|iniciar|iniziare|giocare|começar|jogar|начать|играть|старт|開始|开始|スタート",
    "playing": r"mov(?:e|es|ement|ing)|steer|turn|jump|fire|shoot|pause|rotat(?:e|ion)|(?:hard |soft )?drop|flap|fly"
    r"|boost|thrust|accelerate|brake|run|dash|attack|forwards?|backwards?|duck|crouch|slide|spin|walk|hop|dive|drive"
    r"|swing|throw|launch|serve|strafe|flip|roll|punch|kick|sprint|left|right|up|down|pausieren|bewegen|springen"
    r"|schie(?:ß|ss)en|drehen|lenken|sauter|bouger|déplacer|tirer|tourner|mover(?:se)?|saltar|disparar|girar|pausa"
    r"|muover[es]i?|saltare|sparare|ruotare|pular|atirar|двигаться|движение|прыжок|прыгать|пауза|стрелять|огонь"
    r"|移动|跳跃?|暂停|ジャンプ|移動",
    "unseen": r"(?:toggle )?(?:un)?mute|sounds?|music|audio|volume|sfx|full[ -]?screen|screenshot|copy|share|debug|fps"
    r"|stats|save|ton|son|sonido|звук|vollbild",
    "sometimes": r"use|interact|open|talk|pick|reload|buy|upgrade|place|build|bomb|special|enter|climb|skip|next"
    r"|previous|select|confirm|choose|continue|resume|undo|redo|hint|inventory|map|menu|help|exit|quit|back|action"
    r"|fall|glide|hover|float|swim|faster|slower|speed up|slow down"
    r"|switch|change|hold|swap|cancel|close|toggle|load|zoom|grab|block|cast|eat|weiter|hilfe|beenden|cycle|reverse",
}
"""Where a key has to do something -> what it does there. The first that matches counts."""

NO_KEYBOARD: Final = re.compile(
    r"\b(?:game ?pads?|controllers?|joy-?sticks?|xbox|playstation|nintendo|dual ?shock)\b", re.I
)
"""A text about something else than a keyboard."""

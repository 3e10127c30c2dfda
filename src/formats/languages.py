"""Names of languages, as recognisers write them, and their BCP 47 codes."""

from __future__ import annotations

import re

# The 100 languages of Whisper, and the other names that its command line accepts.
_NAMES = """
    english=en chinese=zh german=de spanish=es russian=ru korean=ko french=fr japanese=ja portuguese=pt
    turkish=tr polish=pl catalan=ca dutch=nl arabic=ar swedish=sv italian=it indonesian=id hindi=hi finnish=fi
    vietnamese=vi hebrew=he ukrainian=uk greek=el malay=ms czech=cs romanian=ro danish=da hungarian=hu
    tamil=ta norwegian=no thai=th urdu=ur croatian=hr bulgarian=bg lithuanian=lt latin=la maori=mi
    malayalam=ml welsh=cy slovak=sk telugu=te persian=fa latvian=lv bengali=bn serbian=sr azerbaijani=az
    slovenian=sl kannada=kn estonian=et macedonian=mk breton=br basque=eu icelandic=is armenian=hy nepali=ne
    mongolian=mn bosnian=bs kazakh=kk albanian=sq swahili=sw galician=gl marathi=mr punjabi=pa sinhala=si
    khmer=km shona=sn yoruba=yo somali=so afrikaans=af occitan=oc georgian=ka belarusian=be tajik=tg sindhi=sd
    gujarati=gu amharic=am yiddish=yi lao=lo uzbek=uz faroese=fo haitian_creole=ht pashto=ps turkmen=tk
    nynorsk=nn maltese=mt sanskrit=sa luxembourgish=lb myanmar=my tibetan=bo tagalog=tl malagasy=mg
    assamese=as tatar=tt hawaiian=haw lingala=ln hausa=ha bashkir=ba javanese=jv sundanese=su cantonese=yue
    burmese=my valencian=ca flemish=nl haitian=ht letzeburgesch=lb pushto=ps panjabi=pa moldavian=ro moldovan=ro
    sinhalese=si castilian=es mandarin=zh filipino=tl farsi=fa bokmål=nb bokmal=nb
"""
LANGUAGES = {name.replace("_", " "): code for name, code in (entry.split("=") for entry in _NAMES.split())}
# Deprecated codes that Whisper and older systems write, and their replacements in BCP 47.
_REPLACED = {"jw": "jv", "iw": "he", "in": "id", "ji": "yi", "mo": "ro"}
# Codes that count as the same language when a result is compared with the expected language.
_SAME = {"nb": "no", "nn": "no", "fil": "tl", "cmn": "zh", "sh": "sr"}
_CODE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*", re.ASCII | re.IGNORECASE)


def code_of(name: str | None) -> str | None:
    """Return the BCP 47 code of a name or code (`Arabic` → `ar`, `en_us` → `en-US`), None if it is not a language."""
    if name is None:
        return None
    found = LANGUAGES.get(name.strip().lower())
    if found is not None:
        return found
    if _CODE.fullmatch(name.strip()) is None:
        return None
    first, *others = re.split("[-_]", name.strip())
    first = first.lower()
    if first in {"und", "mis", "mul", "zxx"}:
        return None
    styles = {2: str.upper, 4: str.title}
    return "-".join([_REPLACED.get(first, first), *(styles.get(len(part), str.lower)(part) for part in others)])


def differ(one: str | None, other: str | None) -> bool:
    """Whether two names or codes are both known and mean different languages; regions are ignored."""
    codes = [code.partition("-")[0] for code in (code_of(one), code_of(other)) if code is not None]
    return len(codes) == 2 and _SAME.get(codes[0], codes[0]) != _SAME.get(codes[1], codes[1])

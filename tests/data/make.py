#!/usr/bin/env python3
"""Makes the PDFs in documents/ and hostile/. Needs reportlab (pip install reportlab).

The results are committed; run this only to change them.
"""

import zlib
from pathlib import Path

from reportlab import rl_config
from reportlab.lib.pagesizes import A5
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer

rl_config.invariant = 1  # no dates, no random identifiers: the same input gives the same bytes

HERE = Path(__file__).parent
STYLES = getSampleStyleSheet()

HANDOVER = ("Harbour handover", [
    ("Purpose", """This handbook describes how the night watch of the harbour office hands over to the day
watch, and what each may rely on. It was written after the storm of 17 February 2022, in which two watches
each believed that the other had closed the inner gate. Both had good reasons, and the gate stood open for
forty minutes."""),
    ("The log book", """Everything that happens is written down when it happens, not when there is time. An
entry has a number, a time, and a name. Entries are never changed; a mistake is corrected by another entry
that names the first. Whoever comes on watch reads forward from the last entry he has signed, and signs
again at the end. The numbers have no gaps, so a missing page is noticed on the spot."""),
    ("", """Orders to the gates, the pilots and the lamps are read from the log book by those who carry them
out. Nobody shouts them across the yard as well. An order that was shouted and not written may be lost; one
that was shouted and written may be carried out twice. The book is slower by a few seconds and has not
failed us since."""),
    ("Handing over", """At 05:45 the day watch reads the entries of the night. At 06:00 the night watch writes
the entry "handed over" with the name of the successor. From that line on, only the successor gives orders.
Should the old watch, out of habit or because his clock is slow, give one more order under his own name,
the gatekeeper refuses it, because the book shows a newer name. It is the name in the book that counts and
not the face at the window."""),
    ("When the successor does not come", """If nobody has signed by 06:20 the duty officer appoints a
replacement and enters it in the book. The late successor, when he arrives, reads that line and goes home
or takes the next watch. He does not begin to give orders merely because it is his day on the roster."""),
    ("Closing the gates", """Closing the harbour before a surge takes four steps: recall the boats, close the
outer gate, close the inner gate, start the pumps. If one of them fails, what was done is undone in the
reverse order, as far as the water allows. If undoing fails as well, the watch writes "stuck" with the
reason and telephones. A gate that is half closed and known to be so is a problem; a gate that is half
closed and believed to be open is a disaster."""),
    ("", """After every surge the book is read again from the first warning to the all-clear, by people who
were not on duty. They ask at each entry what would have happened had the next one come ten minutes later.
The answers are collected on the last pages of this handbook, which are longer every year."""),
])

GEZEITEN = ("Gezeiten und Warteschlangen", [
    ("Ebbe und Flut im Rechenzentrum", """Wer an der Küste aufwächst, lernt früh, dass man mit dem Wasser nicht
verhandelt. Man richtet sich nach ihm. In einem Rechenzentrum ist es mit der Last nicht anders: Sie steigt
am Morgen, steht über Mittag hoch, fällt am Abend und kommt an den Tagen vor einem Fest als Springflut. Wer
seine Anlagen für den Mittelwert baut, hat zweimal am Tag nasse Füße."""),
    ("Die Schleuse", """Zwischen dem Fluss und dem Hafenbecken liegt eine Schleuse. Sie macht das Wasser nicht
weniger, aber sie bestimmt, wann wie viel davon hereinkommt. Eine Warteschlange ist nichts anderes. Sie
nimmt auf, was im Augenblick nicht verarbeitet werden kann, und gibt es weiter, sobald Platz ist. Dafür muss
sie eine Grenze haben. Eine Schleuse ohne Tor ist ein Kanal, und eine Warteschlange ohne Grenze ist ein
Speicherüberlauf mit Ansage."""),
    ("Reihenfolge", """Die Schiffe eines Reeders sollen in der Reihenfolge ankommen, in der sie abgefahren
sind; zwischen den Reedern ist sie gleichgültig. Genau so verhält es sich mit Ereignissen. Für denselben
Schlüssel zählt die Reihenfolge, für verschiedene Schlüssel zählt nur, dass keiner auf den anderen warten
muss. Bleibt ein Schiff auf Grund liegen, warten die Schiffe desselben Reeders dahinter. Alle übrigen
fahren vorbei, und der Hafenmeister schreibt auf, warum das erste festsitzt."""),
    ("Das Logbuch", """Ein Ereignis, das geschehen ist, lässt sich nicht zurücknehmen. Man kann ihm nur ein
weiteres folgen lassen. Deshalb wird im Logbuch nichts radiert. Wer wissen will, wie hoch das Wasser am
dritten März stand, liest von vorn und rechnet; wer es jeden Tag wissen will, legt sich daneben eine Tabelle
an und führt sie fort. Geht die Tabelle verloren, ist das ärgerlich und sonst nichts: Das Logbuch ist die
Wahrheit, die Tabelle nur eine Abschrift, die man jederzeit neu erstellen kann."""),
    ("Nachtrag", """Der alte Schleusenwärter, den wir um Rat fragten, sagte zum Abschied: Das Wasser kommt
wieder. Es komme nur darauf an, dass man beim nächsten Mal besser vorbereitet sei als beim letzten. Besser
lässt sich die Arbeit an verteilten Systemen nicht beschreiben."""),
])

TARIFFS = ("Berth tariffs (confidential)", [
    ("Tariffs", """This document is protected by a password on purpose. A reader that does not have it must say
so and stop; it must neither guess nor store an empty text. Boats up to eight metres pay 14.50 a night,
boats up to twelve metres pay 21.00, and anything longer is agreed with the harbour office."""),
    ("Winter", """From 1 November to 31 March half the tariff applies, provided that the boat lies on the inner
side of the north pier and somebody looks after its lines before every gale."""),
])

LOGBOOK = ("Log book, broken", [
    ("January", """This file is cut off in the middle on purpose, as after a copy onto a full disk. What is
left has neither its last pages nor the table that says where the first ones are."""),
    ("February", """Nobody can read this part."""),
])


def build(path, document, encrypt=None):
    title, sections = document
    story = [Paragraph(title, STYLES["Title"])]
    for number, (heading, prose) in enumerate(sections):
        if heading:
            if number and number % 2 == 0:
                story.append(PageBreak())
            story.append(Paragraph(heading, STYLES["Heading2"]))
        story += [Paragraph(prose.replace("\n", " "), STYLES["BodyText"]), Spacer(1, 6)]
    SimpleDocTemplate(str(path), pagesize=A5, title=title, author="The Tidewire authors", encrypt=encrypt).build(story)


def raw_pdf(objects):
    """A PDF of the given objects (bytes, numbered from 1), object 1 being the catalog."""
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        out += b"%010d 00000 n \n" % offset
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def stream(data, extra=b""):
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), extra, data)


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >> >>"


def hostile():
    # A drawing that contains itself: a parser that follows it without a limit runs out of stack.
    form = stream(b"/X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >>")
    yield "self-including.pdf", raw_pdf([CATALOG, PAGES, PAGE, stream(b"/X Do"), form])

    # Two kilobytes that unfold to two gigabytes.
    packer = zlib.compressobj(9)
    once = b"".join([packer.compress(b" " * 2**20) for _ in range(2048)] + [packer.flush()])
    twice = zlib.compress(zlib.compress(once, 9), 9)
    yield "bomb.pdf", raw_pdf([CATALOG, PAGES, PAGE, stream(twice, b"/Filter [/FlateDecode /FlateDecode /FlateDecode]")])

    # The page's ancestors form a circle, and none of them has what the page inherits.
    kids = b"<< /Type /Pages /Kids [3 0 R] /Count 1 /Parent 5 0 R >>"
    page = b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>"
    yield "circular-pages.pdf", raw_pdf([CATALOG, kids, page, stream(b"BT ET"), b"<< /Type /Pages /Parent 2 0 R >>"])

    # Arrays in arrays in arrays.
    deep = b"[" * 10_000 + b"]" * 10_000
    yield "deep-arrays.pdf", raw_pdf([CATALOG, PAGES, PAGE, stream(b"BT " + deep + b" TJ ET"), deep])


def main():
    documents = HERE / "documents"
    build(documents / "harbour-handover.pdf", HANDOVER)
    build(documents / "gezeiten-und-warteschlangen.pdf", GEZEITEN)
    build(documents / "berth-tariffs-encrypted.pdf", TARIFFS, StandardEncryption("harbour", "owner", strength=128))
    whole = HERE / "whole.pdf"
    build(whole, LOGBOOK)
    (documents / "log-book-corrupt.pdf").write_bytes(whole.read_bytes()[: whole.stat().st_size * 55 // 100])
    whole.unlink()
    for name, data in hostile():
        (HERE / "hostile" / name).write_bytes(data)


if __name__ == "__main__":
    main()

# The words of the pages, in German. The reader is „Sie“, an agent is „er“. Buttons are short.

## Around every page

signed-in-as = Angemeldet als { $account }
about-this-service = Über diesen Dienst
documentation = Dokumentation
terms = Bedingungen
policy = Richtlinien
contact = Kontakt
quoted = „{ $text }“
page-title = { $title } · { $service }

## Times. A span stands in the accusative wherever it is filled in; the times since are sentences of their own.

less-than-a-second = weniger als eine Sekunde
seconds = { $count ->
    [one] { $count } Sekunde
   *[other] { $count } Sekunden
}
minutes = { $count ->
    [one] { $count } Minute
   *[other] { $count } Minuten
}
hours = { $count ->
    [one] { $count } Stunde
   *[other] { $count } Stunden
}
days = { $count ->
    [one] { $count } Tag
   *[other] { $count } Tage
}
two-units = { $large } { $small }
minutes-ago = { $count ->
    [one] vor { $count } Minute
   *[other] vor { $count } Minuten
}
hours-ago = { $count ->
    [one] vor { $count } Stunde
   *[other] vor { $count } Stunden
}
days-ago = { $count ->
    [one] vor { $count } Tag
   *[other] vor { $count } Tagen
}
minutes-ahead = { $count ->
    [one] in { $count } Minute
   *[other] in { $count } Minuten
}
hours-ahead = { $count ->
    [one] in { $count } Stunde
   *[other] in { $count } Stunden
}
days-ahead = { $count ->
    [one] in { $count } Tag
   *[other] in { $count } Tagen
}
soon = in weniger als einer Minute
just-now = gerade eben
never-used = noch nicht genutzt
list-two = { $first } und { $last }
list-more = { $first }, { $rest }

## The approval page

approval-title = Darf dieser Agent Ihr Konto bei { $service } nutzen?
approval-heading = Darf dieser Agent Ihr Konto nutzen?
switch-button = Nicht Sie? Anderes Konto verwenden
switch-advice = Nicht Sie? Melden Sie sich ab, melden Sie sich mit dem richtigen Konto an und öffnen Sie diesen Link noch einmal.
too-early = „{ approve }“ wurde gedrückt, bevor jemand das hier lesen konnte, und zählte deshalb nicht. Lesen Sie, dann drücken Sie noch einmal.

check-heading = Ist das Ihre Anfrage?
check-phrase = Ihr Agent zeigt neben dem Link diese Prüfwörter:
check-code = Ihr Gerät zeigt diesen Code:
check-other = Steht dort etwas anderes, kommt diese Anfrage von jemand anderem: Drücken Sie „{ deny }“.
check-none = Manche Agenten zeigen keine Prüfwörter. Machen Sie dann nur weiter, wenn Sie gerade selbst einen Agenten darum gebeten haben.
user-code = Code, den Ihr Agent zeigt
user-code-required = Ohne den richtigen Code wird nichts erlaubt.
user-code-optional = Zeigt Ihr Agent keinen Code, lassen Sie das Feld leer. Wenn Sie erlauben, zeigt diese Seite einen Code, den Sie dem Agenten nennen.
wrong-user-code = Das ist nicht der Code, den Ihr Agent zeigt, deshalb wurde nichts erlaubt. Fünf falsche Codes beenden diese Anfrage.
question-here = Haben Sie das selbst gestartet, auf diesem Computer?
question-here-advice = Wenn Ihnen jemand diesen Link geschickt hat, drücken Sie „{ deny }“.
question-agent = Haben Sie einen Agenten um etwas gebeten, wofür er das braucht?
question-agent-advice = Der Link kann von Ihrem Agenten kommen, aus einem Chat oder einem Ticket. Wenn Sie um nichts gebeten haben, drücken Sie „{ deny }“.
question-device = Haben Sie das selbst gestartet, auf einem Gerät vor Ihnen?
question-device-advice = Wenn Ihnen jemand den Code oder diesen Link geschickt hat, drücken Sie „{ deny }“.
code-for-that-agent = Geben Sie den Code, den Sie bekommen, nur diesem Agenten.

who-heading = Wer fragt
name-is-a-claim = Eigene Angabe. Niemand hat geprüft, wer dahintersteckt.
app-of-host = Eine App von { $host }
app-of-service = Registriert von { $service }
claims-app-here = Nennt sich eine App von { $host }. Das kann jedes Programm auf diesem Computer behaupten.
claims-app = Nennt sich eine App von { $host }. Das kann jeder behaupten.
reason = Was er tun will
label = So nennt er die Sitzung
method = Wünscht Ihre Anmeldung mit
login-hint = Erwartet die Entscheidung von
vouched-by = Verbürgt von
vouched-for = { $issuer } sagt, dass dieser Agent zu { $human } gehört.
vouched-lasts = Sind Sie das nicht, drücken Sie „{ deny }“. Wenn Sie erlauben, kann der Agent auf dieses Wort hin wiederkommen, bis Sie es beenden.
asked = Angefragt
asked-from = Angefragt von der Adresse
same-network = Ihr Netzwerk.
other-network = Nicht Ihr Netzwerk ({ $browser }). Das ist richtig für einen Agenten, der woanders läuft, und falsch für einen auf diesem Computer.
before = Bisher
before-none = Sie haben noch nie einen Agenten dieses Konto nutzen lassen.
before-others = Sie haben schon andere Agenten zugelassen, aber keinen mit diesem Namen.
before-count = { $count ->
    [one] Sie haben schon einmal einen Agenten mit diesem Namen zugelassen.
   *[other] Sie haben schon { $count }-mal einen Agenten mit diesem Namen zugelassen.
}
before-used = Zuletzt genutzt: { $ago }.
for-resource = Möchte Zugang zu
handover = Wenn Sie es erlauben
handover-program = Ihr Browser übergibt den Zugang an { $place }, ein Programm auf diesem Computer.
handover-site = Ihr Browser übergibt den Zugang an { $place }.
handover-app = Ihr Browser übergibt den Zugang an die App, die Links mit { $scheme } öffnet.
handover-either = Der Agent holt sich den Zugang selbst ab, oder Sie bringen ihm einen Code.
handover-code = Sie bringen dem Agenten einen Code von dieser Seite.
handover-agent = Der Agent holt sich den Zugang selbst ab, wo immer er läuft.
handover-read-back = Sie nennen dem Agenten einen Code von dieser Seite.

warnings-heading = Sehen Sie genau hin
warning-deceptive = Der Name enthält Buchstaben oder Anführungs­zeichen, die anderen zum Verwechseln ähnlich sehen, wie bei Namen, die einen anderen nachahmen. Lesen Sie ihn Buchstabe für Buchstabe.
warning-official = Der Name klingt offiziell. So kann sich jeder nennen.

scopes-heading = Was er tun darf
scopes-untick = Entfernen Sie das Häkchen bei allem, was Sie nicht erlauben möchten.
scopes-tick = Manches ist nicht angehakt, weil Sie es diesem Agenten noch nicht erlaubt haben. Haken Sie an, was Sie erlauben möchten.
scopes-held = Was er schon darf, bleibt, wie es ist; mit „{ approve }“ kommt eine Sitzung hinzu.
effect-see = Ansehen
effect-change = Ändern
effect-spend = Ausgeben
gives = Erlaubt auch: { $what }
given-by = Auch in { $scopes } enthalten. Um es nicht zu erlauben, entfernen Sie auch dort das Häkchen.
held-by-client = Darf er schon
held-by-name = Haben Sie einer App mit diesem Namen schon erlaubt
new-scope = Neu
none-ticked = Nichts ist angehakt. Haken Sie mindestens eines an, um etwas zu erlauben, oder drücken Sie „{ deny }“.

lasting-heading = Wie lange
lasts = Höchstens { $span }
lasts-unused = Die Sitzung endet früher, wenn der Agent sie { $span } lang nicht nutzt.
lasts-by-itself = Danach endet sie von selbst. Beenden können Sie die Sitzung jederzeit.
never-heading = Nie, egal was Sie anhaken
never-other = Alles, was hier nicht angehakt ist
deny = Ablehnen
approve = Erlauben
afterwards = Danach steht auf dieser Seite, wer den Zugang abgeholt hat. Zurücknehmen können Sie ihn hier oder in Ihrer { $sessions }.
sessions-page = Sitzungsübersicht
undecided = „{ approve }“ wirkt erst eine Sekunde, nachdem die Seite erschienen ist. Ohne Entscheidung bleibt die Anfrage noch { $span } offen.

## After the decision

approved = Erlaubt
    .go-back = Gehen Sie zurück zu Ihrem Agenten. Er holt sich den Zugang selbst ab.
approved-in-browser = Erlaubt
    .where = Der Browser, in dem Sie es erlaubt haben, führt zurück zum Agenten.
approved-by-code = Erlaubt
    .where = Der Code für den Agenten ist einige Minuten lang zu sehen, und nur in dem Browser, in dem Sie es erlaubt haben.
approved-waits = Erlaubt
    .go-back = Ihr Agent wartet auf Sie. Gehen Sie zu ihm zurück.
waiting-for-agent = Der Agent hat seinen Zugang noch nicht abgeholt. Sobald er es tut, steht es auf dieser Seite.
collected = Erlaubt und abgeholt
    .check = Der Agent hat seinen Zugang. Wenn das nicht Ihr Agent war, beenden Sie die Sitzung jetzt.
collected-ended = Erlaubt, abgeholt und beendet
    .over = Der Agent hatte Zugang und hat ihn nicht mehr.
collected-gone = Erlaubt und abgeholt
    .over = Die Sitzung ist vorbei und nicht mehr gespeichert.
locked = Diese Anfrage ist gesperrt
    .why = Für sie wurden zu oft falsche Codes eingegeben, deshalb hat der Agent keinen Zugang bekommen.
    .next = Vielleicht hat jemand geraten. Wenn Sie es noch möchten, lassen Sie den Agenten neu anfragen.
denied = Abgelehnt
    .told = Der Agent bekommt keinen Zugang und erfährt das.
taken-back = Zurück­genommen
    .when = Die Erlaubnis wurde zurückgenommen, bevor der Agent seinen Zugang abgeholt hat.
expired = Diese Anfrage ist abgelaufen
    .why = Die Zeit war um, deshalb hat der Agent keinen Zugang bekommen. Wenn Sie es noch möchten, lassen Sie den Agenten neu anfragen.
going-back = Erlaubt
    .going = Sie werden zu Ihrem Agenten zurückgeleitet.
going-back-denied = Abgelehnt
    .told = Der Agent bekommt keinen Zugang und erfährt das.
    .going = Sie werden zu Ihrem Agenten zurückgeleitet.
finish = Erlaubt. Bringen Sie Ihrem Agenten diesen Code
    .paste = Fügen Sie ihn dort ein, wo { $client } Sie danach gefragt hat. Er gilt einmal und noch { $span }.
    .only = Niemand außer dem Agenten, der angefragt hat, kann ihn verwenden. Lassen Sie diese Seite offen: Sie sehen hier, wann das geschehen ist.
finish-or-by-itself = Erlaubt. Bringen Sie Ihrem Agenten diesen Code
    .paste = Fügen Sie ihn dort ein, wo { $client } Sie danach gefragt hat, falls der Agent nicht von selbst weitermacht. Er gilt einmal und noch { $span }.
    .secret = Wer diesen Code hat, kann den Zugang anstelle Ihres Agenten bekommen. Geben Sie ihn niemand anderem und lassen Sie diese Seite offen: Sie sehen hier, wer ihn verwendet hat.
finish-code-message = Abschlusscode von { $service }:
read-back = Erlaubt. Nennen Sie Ihrem Agenten diesen Code
    .tell = { $client } fragt Sie danach. Er gilt einmal, innerhalb von { $span }.
    .only = Nur der Agent, der gefragt hat, kann ihn verwenden. Lassen Sie diese Seite offen: Sie zeigt, wann das geschehen ist.
read-back-message = Code von { $service }:
collected-identity = Erlaubt und abgeholt
    .check = Der Agent hat seinen Zugang. War das nicht Ihr Agent, beenden Sie ihn jetzt.
end-access = Zugang beenden
copy-code = Code kopieren
copy-message = Nachricht an den Agenten kopieren
copied = Kopiert.
copy-refused = Der Browser hat es nicht erlaubt. Der Code ist markiert: Kopieren Sie ihn von dort.
agent = Agent
may = Darf
collected-at = Abgeholt
collected-from = Von der Adresse
collected-by = Von einem Programm namens
first-use = Genutzt
take-back = Zurücknehmen
revoke-session = Diese Sitzung beenden
see-sessions = Alle Sitzungen ansehen
go-to-agent = Zurück zum Agenten
look-again = Nachsehen, ob sich etwas geändert hat

## When something is in the way

too-many-requests = Zu viele Aufrufe
    .wait = { $seconds ->
        [one] Aus Ihrem Netzwerk werden diese Seiten zu oft aufgerufen. Versuchen Sie es in { $seconds } Sekunde noch einmal.
       *[other] Aus Ihrem Netzwerk werden diese Seiten zu oft aufgerufen. Versuchen Sie es in { $seconds } Sekunden noch einmal.
    }
sign-in-first = Melden Sie sich an, um fortzufahren
    .going = Sie werden zur Anmeldung weitergeleitet.
sign-in = Anmelden
for-people = Diese Seite ist für Menschen
    .why = Der Aufruf enthielt die Zugangsdaten eines Agenten. Hier kann nur der Mensch entscheiden, dem das Konto gehört, angemeldet in einem Browser.
    .next = Öffnen Sie diese Seite in einem Browser und melden Sie sich dort an.
forged = Dieses Formular gilt nicht mehr
    .why = Es kam nicht von dieser Seite, der Browser hat das Cookie der Seite nicht mitgeschickt, oder Sie haben sich neu angemeldet, seit sie geladen wurde. Dieses Formular hat nichts geändert.
    .next = Öffnen Sie die Seite noch einmal und entscheiden Sie dort.
unreadable = Dieses Formular ist nicht lesbar
    .why = Der Fehler auf Englisch: { $problem }. Dieses Formular hat nichts geändert.
    .next = Öffnen Sie die Seite noch einmal und entscheiden Sie dort.
open-again = Seite noch einmal öffnen
unknown-request = Hier gibt es nichts zu entscheiden
    .next = Keine Anfrage hat diese Adresse. Prüfen Sie den Link, den Ihr Agent Ihnen gegeben hat.
wrong-account = Diese Anfrage gehört zu einem anderen Konto
    .why = Sie wurde zuerst mit einem anderen Konto geöffnet, und nur dieses Konto kann darüber entscheiden.
    .next = Melden Sie sich mit jenem Konto an, oder lassen Sie den Agenten neu anfragen und öffnen Sie den neuen Link mit diesem.
opened-for-another = Sie haben das mit einem anderen Konto geöffnet
    .why = Als die Anfrage in diesem Browser geöffnet wurde, war ein anderes Konto angemeldet. Dieses andere Konto kann entscheiden.
    .next = Sie können stattdessen { $account } verwenden. Dann kann nur noch { $account } entscheiden.
use-this-account = Stattdessen dieses Konto verwenden
already-decided = Darüber wurde schon entschieden
    .next = Eine Entscheidung steht, sobald sie getroffen ist. Was Sie erlaubt haben, können Sie in der Sitzungsübersicht zurücknehmen.
inactive = Dieses Konto kann keinen Zugang geben
    .why = Der Dienst sagt, dass kein Agent mehr für dieses Konto handeln darf. Es wurde nichts erlaubt.
    .next = Melden Sie sich mit einem anderen Konto an, oder fragen Sie den Dienst.
callback-refused = Es wurde nichts erlaubt
    .next = Der Dienst sendet nichts mehr dorthin, wo dieser Agent wartet. Lassen Sie den Agenten neu anfragen.
nothing-ticked = Es wurde nichts erlaubt
    .next = Gehen Sie zurück und haken Sie mindestens eines von dem an, was der Agent möchte, oder lehnen Sie ab.
not-possible = Das geht nicht
    .why = Der Dienst meldet auf Englisch: { $error }.
    .next = Lassen Sie den Agenten neu anfragen. Wenn das nicht hilft, sagen Sie dem Dienst Bescheid.
app-refused = Diese App kann nicht zugelassen werden
    .why = Sie hat Sie mit einem Link hierher geschickt, den dieser Dienst ablehnt. Er meldet auf Englisch: { $error }.
    .next = Es wurde nichts erlaubt und nichts an die App gesendet. Starten Sie aus der App neu, oder sagen Sie es denen, die sie machen.
busy = Das lässt sich gerade nicht anzeigen
    .why = Der Dienst ist ausgelastet. Er meldet auf Englisch: { $error }. Versuchen Sie es in einer Minute noch einmal.
unavailable = Das lässt sich gerade nicht anzeigen
    .next = Der Dienst konnte es nicht nachschlagen. Versuchen Sie es in ein paar Sekunden noch einmal.
outcome-unknown = Es ist unklar, ob das gespeichert wurde
    .why = Die Verbindung zum Speicher des Dienstes brach ab, während er Ihre Entscheidung speicherte. Sie kann gespeichert sein oder nicht.
    .next = Sehen Sie in ein paar Sekunden nach, was gilt. Es schadet nicht, dasselbe Formular noch einmal zu senden.
see-what-stands = Nachsehen, was gilt
try-again = Noch einmal versuchen

## The page for the code of a device

code-title = Welchen Code zeigt Ihr Gerät?
code-given = Vergleichen Sie jeden Buchstaben mit Ihrem Gerät, dann gehen Sie weiter.
code-type = Acht Buchstaben, zum Beispiel BCDF-GHJK.
code-care = Gehen Sie nur weiter, wenn Sie das selbst gestartet haben, auf einem Gerät vor Ihnen. Wenn Ihnen jemand diesen Code geschickt hat, schließen Sie diese Seite.
code-unknown = Kein Gerät wartet mit diesem Code. Geben Sie ein, was Ihr Gerät zeigt, oder starten Sie dort neu.
go-on = Weiter
too-many-codes = Zu viele Codes
    .wait = { $seconds ->
        [one] Mit diesem Konto wurden zu viele Codes versucht. Versuchen Sie es in { $seconds } Sekunde noch einmal.
       *[other] Mit diesem Konto wurden zu viele Codes versucht. Versuchen Sie es in { $seconds } Sekunden noch einmal.
    }

## The sessions page

sessions-title = Sitzungen von Agenten
sessions-intro = Agenten, die Ihr Konto bei { $service } nutzen dürfen. Die Namen haben sie selbst gewählt; niemand hat sie geprüft.
search-sessions = Nach Agent, Bezeichnung oder Name suchen
search = Suchen
which-sessions = Welche Sitzungen
state-all = Alle
state-active = Aktiv
state-ended = Vorbei
state-revoked = Beendet
state-expired = Abgelaufen
state-approved = Erlaubt
state-standing = Abgeholt
show-all-sessions = Alle Sitzungen zeigen
nothing-found = Keine Sitzung gefunden
nothing-found-next = Keine Ihrer Sitzungen ist das, was Sie gesucht haben.
no-sessions = Kein Agent hat Zugang
no-sessions-next = Wenn ein Agent um Zugang bittet und Sie es erlauben, erscheint seine Sitzung hier, und hier können Sie sie beenden.
export = Herunterladen, was über mich gespeichert ist
export-what = Eine JSON-Datei mit allem, was dieser Dienst über Ihre Agenten speichert. Geheimnisse enthält sie nicht.

waiting-heading = Erlaubt, noch nicht abgeholt
waiting-more = { $count ->
    [one] { $count } weitere hat hier keinen Platz. Sie endet in wenigen Minuten von selbst, wenn kein Agent den Zugang abholt.
   *[other] { $count } weitere haben hier keinen Platz. Sie enden in wenigen Minuten von selbst, wenn kein Agent den Zugang abholt.
}
collect-until = Abholbar bis
standing-heading = Erlaubnisse, die Agenten nutzen können
standing-until = Kann neue Sitzungen holen bis
take-back-which = die Erlaubnis für { $client }, angefragt { $asked }

client-active = { $count ->
    [0] keine aktiv
   *[other] { $count } aktiv
}
client-continued = Fortsetzung
client-of-host = { $client } von { $host }
revoke-client = Alle dieses Agenten beenden
revoke-client-which = { $client }
show-client = { $count ->
    [one] { $count } Sitzung dieses Agenten zeigen
   *[other] Alle { $count } Sitzungen dieses Agenten zeigen
}
details = Details und Name
details-which = der Sitzung, erstellt { $created }
what-it-may-do = Was er tun darf
comes-with-others = kommt mit den anderen
session-name = Ihr Name dafür
session-name-why = Nur Sie sehen ihn. Leer: kein Name.
rename = Name speichern
rename-which = der Sitzung, erstellt { $created }
for = Für
created = Erstellt
last-used = Zuletzt genutzt
session-collected-from = Abgeholt von der Adresse
used-from = Zuletzt genutzt von der Adresse
expires = Endet
ends-at-most = Endet spätestens
expired-at = Abgelaufen
revoked-at = Beendet
revoked-by = Beendet von
also-called = Nannte sich
session-id = Sitzungs-ID
revoke = Beenden
revoke-which = die Sitzung von { $client }, erstellt { $created }
revoke-all = Alle beenden
revoke-all-which = Sitzungen dieses Kontos
newer-sessions = Vorherige Seite
older-sessions = Nächste Seite
more-sessions = Weitere Sitzungen

by-agent = dem Agenten selbst
by-human = Ihnen
by-service = dem Dienst
by-reuse = dem Dienst, weil ein Geheimnis zweimal verwendet wurde: Es kann gestohlen worden sein

confirm-all = { $count ->
    [0] Alles beenden, was Agenten tun dürfen?
    [one] Ihre aktive Sitzung beenden?
   *[other] Alle { $count } aktiven Sitzungen beenden?
}
    .calls = Jeder Agent verliert seinen Zugang zu diesem Konto, und sein nächster Aufruf wird abgelehnt. Für neuen Zugang muss er Sie fragen.
confirm-client = { $count ->
    [0] Alles beenden, was Sie { $client } erlaubt haben?
    [one] Die aktive Sitzung von { $client } beenden?
   *[other] Alle { $count } aktiven Sitzungen von { $client } beenden?
}
    .calls = Die nächsten Aufrufe werden abgelehnt. Für neuen Zugang muss der Agent Sie fragen. Die Sitzungen anderer Agenten bleiben.
confirm-waiting = { $count ->
    [one] { $count } erlaubte Anfrage, deren Zugang kein Agent abgeholt hat, wird ebenfalls zurückgenommen.
   *[other] { $count } erlaubte Anfragen, deren Zugang kein Agent abgeholt hat, werden ebenfalls zurückgenommen.
}
confirm-more = Dieses Konto hat sehr viele Sitzungen, und nicht alle wurden gezählt. Beendet werden alle.
confirm-revoke = { $count ->
    [0] Beenden
    [one] { $count } Sitzung beenden
   *[other] { $count } Sitzungen beenden
}
confirm-none = Dort ist nichts aktiv
    .why = Es gibt nichts zu beenden: Diese Sitzungen sind schon vorbei.
keep-them = Behalten

done-revoked = Sitzung beendet. Der nächste Aufruf des Agenten wird abgelehnt.
done-revoked-many = { $count ->
    [one] { $count } Sitzung beendet. Der nächste Aufruf des Agenten wird abgelehnt.
   *[other] { $count } Sitzungen beendet. Die nächsten Aufrufe werden abgelehnt.
}
done-revoked-all = Alle Sitzungen beendet. Die nächsten Aufrufe werden abgelehnt.
done-taken-back = Zurückgenommen. Der Agent bekommt keinen Zugang.
done-renamed = Name gespeichert.
done-unknown = Diese Sitzung ist nicht mehr gespeichert.
done-gone = Das war schon vorbei.
name-refused = Der Name wurde nicht gespeichert: { $problem }
name-too-long = Er ist zu lang. Verwenden Sie höchstens 64 Zeichen.
name-begins-with-mark = Er beginnt mit einem Zeichen, das auf einen Buchstaben gehört. Beginnen Sie ihn mit einem Buchstaben, einer Ziffer oder einem Symbol.
name-invisible = Er enthält ein Zeichen, das niemand sehen kann, etwa ein Steuerzeichen oder eines, das die Schreibrichtung umkehrt. Tippen Sie ihn neu, statt ihn einzufügen.
name-stacked-marks = Er häuft zu viele Zeichen auf einem Buchstaben. Lassen Sie einige weg.
export-elsewhere = Es wurde nichts heruntergeladen
    .why = Eine andere Website hat hierher geführt. Was über Sie gespeichert ist, bekommen nur Sie, über Ihre eigene Sitzungsübersicht.
    .next = Öffnen Sie die Sitzungsübersicht und laden Sie es dort herunter.

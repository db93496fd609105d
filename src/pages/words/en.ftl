# The words of the pages, in English. `{ $… }` is filled in. A message's attributes are its further sentences.

## Around every page

signed-in-as = Signed in as { $account }
about-this-service = About this service
documentation = Documentation
terms = Terms
policy = Policy
contact = Contact
quoted = “{ $text }”
page-title = { $title } · { $service }

## Times. A span has its two largest units.

less-than-a-second = less than a second
seconds = { $count ->
    [one] { $count } second
   *[other] { $count } seconds
}
minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
hours = { $count ->
    [one] { $count } hour
   *[other] { $count } hours
}
days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
two-units = { $large } { $small }
minutes-ago = { $count ->
    [one] { $count } minute ago
   *[other] { $count } minutes ago
}
hours-ago = { $count ->
    [one] { $count } hour ago
   *[other] { $count } hours ago
}
days-ago = { $count ->
    [one] { $count } day ago
   *[other] { $count } days ago
}
minutes-ahead = { $count ->
    [one] in { $count } minute
   *[other] in { $count } minutes
}
hours-ahead = { $count ->
    [one] in { $count } hour
   *[other] in { $count } hours
}
days-ahead = { $count ->
    [one] in { $count } day
   *[other] in { $count } days
}
soon = in less than a minute
just-now = just now
never-used = not used yet
list-two = { $first } and { $last }
list-more = { $first }, { $rest }

## The approval page

approval-title = Let this agent use your { $service } account?
approval-heading = Let this agent use your account?
switch-button = Not you? Use another account
switch-advice = Not you? Sign out, sign in with the right account, and open this link again.
too-early = { approve } was pressed before anybody could read this, so it did not count. Read, then press again.

check-heading = Is it yours?
check-phrase = Your agent shows this check phrase beside the link:
check-code = Your device shows this code:
check-other = If it shows another one, somebody else made this request: press { deny }.
check-none = Some agents show no phrase. Then go on only if you have just asked one for this.
user-code = Code that your agent shows
user-code-required = Without the right code nothing is approved.
user-code-optional = If your agent shows no code, leave this empty. Once you approve, this page shows one for you to tell the agent.
wrong-user-code = That is not the code that your agent shows, so nothing was approved. Five wrong codes end this request.
question-here = Did you start this yourself, on this computer?
question-here-advice = If somebody sent you this link, press { deny }.
question-agent = Did you ask an agent for something that needs this?
question-agent-advice = The link may have come from your agent, in a chat or an issue. If you asked for nothing, press { deny }.
question-device = Did you start this yourself, on a device in front of you?
question-device-advice = If somebody sent you the code or this link, press { deny }.
code-for-that-agent = Give the code that you get to that agent only.

who-heading = Who asks
name-is-a-claim = Its own words. Nobody has checked who it is.
app-of-host = An app of { $host }
app-of-service = Registered by { $service }
claims-app-here = It says that it is an app of { $host }. Any program on this computer can say so.
claims-app = It says that it is an app of { $host }. Anybody can say so.
reason = What it wants to do
label = Calls this session
method = Would like you to sign in with
login-hint = Expects the decision of
vouched-by = Vouched for by
vouched-for = { $issuer } says that this agent belongs to { $human }.
vouched-lasts = If that is not you, press { deny }. Once you approve, the agent can come back by its word until you end it.
asked = Asked
asked-from = Asked from
same-network = Your network.
other-network = Not your network ({ $browser }). That is right for an agent that runs elsewhere, and wrong for one on this computer.
before = Before today
before-none = You have never let an agent use this account.
before-others = You have let other agents in, and none of this name.
before-count = { $count ->
    [one] You let an agent of this name in once.
   *[other] You let an agent of this name in { $count } times.
}
before-used = Last used { $ago }.
for-resource = Asks for access to
handover = Once you approve
handover-program = Your browser takes the access to { $place }, a program on this computer.
handover-site = Your browser takes the access to { $place }.
handover-app = Your browser takes the access to the app that opens { $scheme } links.
handover-either = The agent collects its access by itself, or you take a code to it.
handover-code = You take a code from this page to the agent.
handover-agent = The agent collects its access by itself, from wherever it runs.
handover-read-back = You tell the agent a code from this page.

warnings-heading = Look closely
warning-deceptive = The name has letters or quotation marks that look like others, as names do that imitate another. Read it letter by letter.
warning-official = The name sounds official. Anybody can choose such a name.

scopes-heading = What it may do
scopes-untick = Untick what you don’t want to give.
scopes-tick = Some are not ticked, because you have not given them to this agent before. Tick what you want to give.
scopes-held = What it has already stays as it is; approving adds a session.
effect-see = See
effect-change = Change
effect-spend = Spend
gives = Gives as well: { $what }
given-by = Also given by { $scopes }. To withhold it, untick that too.
held-by-client = It has this already
held-by-name = You gave this to an app of this name before
new-scope = New
none-ticked = Nothing is ticked. To approve, tick at least one thing; to give nothing, press { deny }.

lasting-heading = For how long
lasts = At most { $span }
lasts-unused = It ends sooner if the agent does not use it for { $span }.
lasts-by-itself = Then it ends by itself. You can end it at any time.
never-heading = Never, whatever you tick
never-other = Anything that is not ticked here
deny = Deny
approve = Approve
afterwards = Afterwards this page says who collected the access, and you can take it back here or on your { $sessions }.
sessions-page = sessions page
undecided = { approve } works a second after the page shows. Undecided, the request ends in { $span }.

## After the decision

approved = Approved
    .go-back = Go back to your agent. It collects its access by itself.
approved-in-browser = Approved
    .where = The browser in which you approved leads back to the agent.
approved-by-code = Approved
    .where = The code for the agent is shown for a few minutes, and only in the browser in which you approved.
approved-waits = Approved
    .go-back = Your agent waits for you. Go back to it.
waiting-for-agent = The agent has not collected its access yet. This page says when it does.
collected = Approved, and collected
    .check = The agent has its access. If that was not your agent, revoke it now.
collected-ended = Approved, collected, and ended
    .over = The agent had its access, and has it no more.
collected-gone = Approved, and collected
    .over = The session is over and no longer kept.
locked = This request is locked
    .why = Wrong codes were presented for it too often, so the agent got no access.
    .next = Somebody may have guessed. If you still want it, tell the agent to ask again.
denied = Denied
    .told = The agent gets no access, and is told so.
taken-back = Taken back
    .when = The approval was taken back before the agent collected its access.
expired = This request has expired
    .why = The time ran out, so the agent got no access. If you still want it, tell the agent to ask again.
going-back = Approved
    .going = You are being sent back to your agent.
going-back-denied = Denied
    .told = The agent gets no access, and is told so.
    .going = You are being sent back to your agent.
finish = Approved. Take this code to your agent
    .paste = Paste it where { $client } asked you for it. It works once, within { $span }.
    .only = Nobody but the agent that asked can use it. Keep this page open: it tells you when that was done.
finish-or-by-itself = Approved. Take this code to your agent
    .paste = Paste it where { $client } asked you for it, unless the agent goes on by itself. It works once, within { $span }.
    .secret = Whoever has this code may get the access in your agent’s place. Give it to nobody else, and keep this page open: it tells you who used it.
finish-code-message = { $service } finish code:
read-back = Approved. Tell your agent this code
    .tell = { $client } asks you for it. It works once, within { $span }.
    .only = Nobody but the agent that asked can use it. Keep this page open: it tells you when that was done.
read-back-message = { $service } code:
collected-identity = Approved, and collected
    .check = The agent has its access. If that was not your agent, end it now.
end-access = End its access
copy-code = Copy finish code
copy-message = Copy message for your agent
copied = Copied.
copy-refused = The browser did not allow it. The code is selected: copy it from there.
agent = Agent
may = May
collected-at = Collected
collected-from = From
collected-by = By a program that calls itself
first-use = Used
take-back = Take it back
revoke-session = Revoke this session
see-sessions = See all sessions
go-to-agent = Go back to your agent
look-again = See whether anything has changed

## When something is in the way

too-many-requests = Too many requests
    .wait = { $seconds ->
        [one] Your network asks for these pages too often. Try again in { $seconds } second.
       *[other] Your network asks for these pages too often. Try again in { $seconds } seconds.
    }
sign-in-first = Sign in to go on
    .going = You are being sent to the sign-in.
sign-in = Sign in
for-people = This page is for people
    .why = The request carried an agent’s credential. Only the account’s human can decide here, signed in with a browser.
    .next = Open this page in a browser, and sign in there.
forged = That form is no longer good
    .why = It was not sent from this page, your browser did not send the page’s cookie, or you have signed in again since it was loaded. This form changed nothing.
    .next = Open the page again and decide there.
unreadable = That form can’t be read
    .why = It { $problem }. This form changed nothing.
    .next = Open the page again and decide there.
open-again = Open the page again
unknown-request = There is nothing to decide here
    .next = No request for access has this address. Check the link that your agent gave you.
wrong-account = This request belongs to another account
    .why = It was opened from another account first, and only that account can decide about it.
    .next = Sign in as that account, or tell the agent to ask again and open the new link from this one.
opened-for-another = You opened this as another account
    .why = In this browser, the request was opened while another account was signed in. That account can decide.
    .next = You can use { $account } instead. Then only { $account } can decide.
use-this-account = Use this account instead
already-decided = This was decided before
    .next = A decision stands once it is made. What you gave can be taken back on the sessions page.
inactive = This account can’t give access
    .why = The service says that no agent may act for it any more. Nothing was approved.
    .next = Sign in with another account, or ask the service.
callback-refused = Nothing was approved
    .next = The service no longer sends anything to where this agent waits. Tell the agent to ask again.
nothing-ticked = Nothing was approved
    .next = Go back and tick at least one of the things that the agent asked for, or deny.
not-possible = That can’t be done
    .why = The service says: { $error }.
    .next = Tell the agent to ask again. If that does not help, tell the service.
app-refused = This app can’t be let in
    .why = It sent you here with a link that this service refuses: { $error }.
    .next = Nothing was given, and nothing was sent to the app. Start again from the app, or tell its makers.
busy = This can’t be shown right now
    .why = The service is busy: { $error }. Try again in a minute.
unavailable = This can’t be shown right now
    .next = The service could not look it up. Try again in a few seconds.
outcome-unknown = We can’t tell whether this was saved
    .why = The service lost touch with its store while it saved what you chose. It may be saved, or not.
    .next = Look in a few seconds what stands. Sending the same form again does no harm.
see-what-stands = See what stands
try-again = Try again

## The page for the code of a device

code-title = Which code does your device show?
code-given = Compare each letter with your device, then go on.
code-type = Eight letters, such as BCDF-GHJK.
code-care = Only go on if you started this yourself, on a device in front of you. If somebody sent you this code, close this page.
code-unknown = No device waits with this code. Type what your device shows, or start again there.
go-on = Go on
too-many-codes = Too many codes
    .wait = { $seconds ->
        [one] This account has tried too many codes. Try again in { $seconds } second.
       *[other] This account has tried too many codes. Try again in { $seconds } seconds.
    }

## The sessions page

sessions-title = Agent sessions
sessions-intro = Agents that you let use your { $service } account. Their names are their own choice; nobody has checked them.
search-sessions = Search by agent, label or name
search = Search
which-sessions = Which sessions
state-all = All
state-active = Active
state-ended = Ended
state-revoked = Revoked
state-expired = Expired
state-approved = Approved
state-standing = Collected
show-all-sessions = Show all sessions
nothing-found = No session here
nothing-found-next = None of your sessions is what you looked for.
no-sessions = No agent has access
no-sessions-next = When an agent asks for access and you approve, its session appears here, and here you can end it.
export = Download what is known about me
export-what = A JSON file with all that this service keeps about your agents. It has no secret.

waiting-heading = Approved, not collected yet
waiting-more = { $count ->
    [one] { $count } more has no room here. It ends by itself within minutes if no agent collects it.
   *[other] { $count } more have no room here. They end by themselves within minutes if no agent collects them.
}
collect-until = Can be collected until
standing-heading = Approvals that agents can use
standing-until = Can get new sessions until
take-back-which = the approval of { $client }, asked { $asked }

client-active = { $count ->
    [0] none active
   *[other] { $count } active
}
client-continued = continued
client-of-host = { $client } of { $host }
revoke-client = Revoke all of this client
revoke-client-which = { $client }
show-client = { $count ->
    [one] Show { $count } session of this client
   *[other] Show all { $count } sessions of this client
}
details = Details and name
details-which = of the session created { $created }
what-it-may-do = What it may do
comes-with-others = comes with the others
session-name = Your name for it
session-name-why = Only you see it. Empty: no name.
rename = Save name
rename-which = of the session created { $created }
for = For
created = Created
last-used = Last used
session-collected-from = Collected from
used-from = Last used from
expires = Ends
ends-at-most = Ends at the latest
expired-at = Expired
revoked-at = Revoked
revoked-by = Revoked by
also-called = Called itself
session-id = Session id
revoke = Revoke
revoke-which = the session of { $client }, created { $created }
revoke-all = Revoke all
revoke-all-which = sessions of this account
newer-sessions = Previous page
older-sessions = Next page
more-sessions = More sessions

by-agent = the agent itself
by-human = you
by-service = the service
by-reuse = the service, because a secret was used twice: it may have been stolen

confirm-all = { $count ->
    [0] Revoke everything that agents may do?
    [one] Revoke your active session?
   *[other] Revoke all { $count } active sessions?
}
    .calls = Every agent loses its access to this account, and its next call is refused. To get access again it has to ask you.
confirm-client = { $count ->
    [0] Revoke all that you gave { $client }?
    [one] Revoke the active session of { $client }?
   *[other] Revoke all { $count } active sessions of { $client }?
}
    .calls = Their next calls are refused. To get access again it has to ask you. The sessions of other agents stay.
confirm-waiting = { $count ->
    [one] { $count } approval that no agent has collected is taken back as well.
   *[other] { $count } approvals that no agent has collected are taken back as well.
}
confirm-more = This account has very many sessions, and not all were counted. All of them end.
confirm-revoke = { $count ->
    [0] Revoke
    [one] Revoke { $count } session
   *[other] Revoke { $count } sessions
}
confirm-none = Nothing is active there
    .why = There is nothing to revoke: those sessions have ended already.
keep-them = Keep them

done-revoked = Session revoked. Its next call is refused.
done-revoked-many = { $count ->
    [one] { $count } session revoked. Its next call is refused.
   *[other] { $count } sessions revoked. Their next calls are refused.
}
done-revoked-all = All sessions revoked. Their next calls are refused.
done-taken-back = Taken back. The agent gets no access.
done-renamed = Name saved.
done-unknown = That session is no longer kept.
done-gone = That had ended already.
name-refused = The name was not saved: { $problem }
name-too-long = it is too long. Use at most 64 characters.
name-begins-with-mark = it begins with a mark that belongs on a letter. Begin it with a letter, a digit or a symbol.
name-invisible = it has a character that nobody can see, such as a control character or one that turns the text around. Type it again instead of pasting it.
name-stacked-marks = it piles too many marks on one letter. Leave some out.
export-elsewhere = Nothing was downloaded
    .why = Another site led here. What is known about you is only given to you, from your own sessions page.
    .next = Open that page, and download it there.

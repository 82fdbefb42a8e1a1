//! What letters say. Plain text, in which a link is what it looks like.
//!
//! Nothing that a stranger wrote stands in a letter but an address, a browser's name in one line, and
//! names that were checked: nobody can send their own text to others through an installation.

use super::Letter;
use crate::account::Email;

/// A letter that only tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    subject: &'static str,
    body: &'static str,
}

const NOT_YOU: &str = "If that was not you, sign in, change your password, and look at where you are \
     signed in; or ask for a new password where you sign in.";

pub(crate) const SESSION_STOLEN: Notice = Notice {
    subject: "A session of your account was ended",
    body: "Somebody used an old key of a session of your account: one that your browser has given \
         away for a newer one. Either it was copied from your browser, or your browser was set back \
         to an older state. The session is ended, and whoever had it is signed out.",
};
pub(crate) const PASSWORD_CHANGED: Notice = Notice {
    subject: "Your password was changed",
    body: "Your account has a new password. Every other session is ended.",
};
pub(crate) const SECOND_ON: Notice = Notice {
    subject: "A second factor was added to your account",
    body: "Signing in now takes a code of your app as well. Every other session is ended.",
};
pub(crate) const SECOND_OFF: Notice = Notice {
    subject: "The second factor of your account was removed",
    body: "Signing in takes your password alone. Every other session is ended.",
};
pub(crate) const SECOND_RESET: Notice = Notice {
    subject: "The second factor of your account was removed",
    body: "The operator of the installation removed it, and your passkeys, as is done for somebody who \
         has lost them. Your password does not work any more either: set a new one with the link that \
         the operator has. Every session is ended.",
};
pub(crate) const CODES_NEW: Notice = Notice {
    subject: "Your account has new recovery codes",
    body: "The recovery codes that you had do not work any more.",
};
pub(crate) const TRIES_FULL: Notice = Notice {
    subject: "Somebody tries to guess your password",
    body: "There were 100 wrong passwords or codes for your account, one after the other. From now on \
         your password signs in only from networks in which you are or lately were signed in. From \
         elsewhere, ask for a new password where you sign in: with that, everything is as it was.",
};
pub(crate) const ACCOUNT_DELETED: Notice = Notice {
    subject: "Your account is deleted",
    body: "Your account is deleted, as was asked for by somebody who was signed in to it. Your name and \
         address are forgotten.",
};
pub(crate) const IDENTITY_ADDED: Notice = Notice {
    subject: "Your account can be signed in to in another way",
    body: "An identity of the sign-in provider was linked with your account, and signs in to it from \
         now on. Your settings list it, and take it off again.",
};
pub(crate) const IDENTITY_REMOVED: Notice = Notice {
    subject: "A way to sign in was taken off your account",
    body: "An identity of the sign-in provider was taken off your account, and signs in to it no more. \
         Every other session is ended.",
};
pub(crate) const PASSKEY_ADDED: Notice = Notice {
    subject: "A passkey was added to your account",
    body: "A passkey was added to your account, and signs in to it from now on, without your password. \
         Every other session is ended. Your settings list your passkeys, and take them off again.",
};
pub(crate) const PASSKEY_REMOVED: Notice = Notice {
    subject: "A passkey of your account was removed",
    body: "A passkey was taken off your account, and signs in to it no more. Every other session is \
         ended.",
};
pub(crate) const EMAIL_UNDONE: Notice = Notice {
    subject: "Your e-mail address is what it was",
    body: "The change of your account's e-mail address was taken back, every session is ended, and \
         your passkeys, identities of a provider and a second factor that was set since are taken off. \
         Set a new password with the link of the letter that comes with \
         this one.",
};

impl From<Notice> for Letter {
    fn from(notice: Notice) -> Self {
        let body = format!("{}\n\n{NOT_YOU}\n", notice.body);
        Self { subject: notice.subject.into(), body }
    }
}

fn letter(subject: &str, body: String) -> Letter {
    Letter { subject: subject.into(), body }
}

const NOT_ASKED: &str = "If you did not ask for this, there is nothing to do.";

/// To whoever wants an account.
pub(crate) fn register(link: &str) -> Letter {
    let body = format!(
        "To make your account, open this link within 24 hours:\n\n{link}\n\nIt works once. {NOT_ASKED}\n"
    );
    letter("Make your account", body)
}

/// To whoever wants an account and has one.
pub(crate) fn registered_already(sign_in: &str) -> Letter {
    let body = format!(
        "Somebody, probably you, wanted to make an account with this address. There is one already: \
         sign in at\n\n{sign_in}\n\nIf you do not know the password any more, ask for a new one \
         there. {NOT_ASKED}\n"
    );
    letter("You have an account", body)
}

/// To whom a workspace waits for. Its name is not in it: it is whatever somebody called it.
pub(crate) fn invitation(link: &str, inviter: Option<&Email>) -> Letter {
    let who = inviter.map_or("Somebody", Email::as_str);
    let body = format!(
        "{who} invites you to share a workspace of short links. To accept, sign in or make an account \
         with this address, and open this link within 7 days:\n\n{link}\n\nIt works once, and for this \
         address alone. {NOT_ASKED}\n"
    );
    letter("You are invited", body)
}

/// To whoever forgot a password.
pub(crate) fn reset(link: &str) -> Letter {
    let body = format!(
        "To set a new password, open this link within 30 minutes:\n\n{link}\n\nIt works once. Your \
         second factor stays as it is. {NOT_ASKED}\n"
    );
    letter("Set a new password", body)
}

/// To the address that an account is to have.
pub(crate) fn confirm_email(link: &str) -> Letter {
    let body = format!(
        "To make this the address of your account, open this link within 24 hours, where you are \
         signed in:\n\n{link}\n\n{NOT_ASKED}\n"
    );
    letter("Confirm your e-mail address", body)
}

/// To the address that an account had.
pub(crate) fn email_changed(new: &str, undo: &str) -> Letter {
    let body = format!(
        "The address of your account is now {new}. Every other session is ended.\n\nIf that was not \
         you, take it back within 7 days:\n\n{undo}\n"
    );
    letter("Your e-mail address was changed", body)
}

/// To somebody who signed in from where they have not been before.
pub(crate) fn new_device(address: &str, user_agent: &str, at: &str) -> Letter {
    let or_unknown =
        |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let body = format!(
        "Somebody signed in to your account from a browser that it does not know.\n\n\
         When: {at}\nFrom: {}\nBrowser: {}\n\n{NOT_YOU}\n",
        or_unknown(address),
        or_unknown(user_agent),
    );
    letter("A new sign-in to your account", body)
}

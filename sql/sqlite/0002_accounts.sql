-- 0002_accounts.sql - our own sign-in: accounts and their sessions (docs/protocol.md, "Accounts").

-- An account without an email is an anonymous one. password is a salted scrypt hash.
CREATE TABLE auth_users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT,
    password TEXT,
    metadata TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    last_sign_in_at TEXT
) WITHOUT ROWID;

CREATE UNIQUE INDEX auth_users_email ON auth_users (email) WHERE email IS NOT NULL;

-- Anonymous ones by age, for those that nobody uses any more.
CREATE INDEX auth_users_anonymous ON auth_users (last_sign_in_at) WHERE email IS NULL;

-- counter numbers the refresh tokens, which are not stored: they are signed.
CREATE TABLE auth_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    refreshed_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX auth_sessions_user ON auth_sessions (user_id, refreshed_at);

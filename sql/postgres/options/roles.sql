-- options/roles.sql - what a Supabase project brings and a plain PostgreSQL lacks: the roles anon,
-- authenticated and service_role, authenticator who becomes them, and the functions auth.uid(),
-- auth.jwt() and auth.role(). Run it before the numbered files, as a superuser or a role with CREATEROLE
-- and BYPASSRLS. What is there stays as it is, so on a Supabase project it changes nothing.
--
-- A front (PostgREST, `bqsync serve --functions-in-database`) verifies the token and sets, in the
-- transaction of each call, the role and request.jwt.claims.

DO $$
BEGIN
    IF to_regrole('anon') IS NULL THEN
        CREATE ROLE anon NOLOGIN NOINHERIT;
    END IF;
    IF to_regrole('authenticated') IS NULL THEN
        CREATE ROLE authenticated NOLOGIN NOINHERIT;
    END IF;
    IF to_regrole('service_role') IS NULL THEN
        CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
    END IF;
    -- It gets a password, or another way in, from who sets up the front.
    IF to_regrole('authenticator') IS NULL THEN
        CREATE ROLE authenticator LOGIN NOINHERIT;
        GRANT anon, authenticated, service_role TO authenticator;
    END IF;
END $$;

CREATE SCHEMA IF NOT EXISTS auth;
GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;

DO $do$
BEGIN
    IF to_regprocedure('auth.jwt()') IS NULL THEN
        CREATE FUNCTION auth.jwt() RETURNS jsonb
        LANGUAGE sql STABLE SET search_path = '' AS $$
            SELECT coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
        $$;
    END IF;
    IF to_regprocedure('auth.uid()') IS NULL THEN
        CREATE FUNCTION auth.uid() RETURNS uuid
        LANGUAGE sql STABLE SET search_path = '' AS $$
            SELECT nullif(auth.jwt() ->> 'sub', '')::uuid
        $$;
    END IF;
    IF to_regprocedure('auth.role()') IS NULL THEN
        CREATE FUNCTION auth.role() RETURNS text
        LANGUAGE sql STABLE SET search_path = '' AS $$ SELECT auth.jwt() ->> 'role' $$;
    END IF;
END $do$;

-- build 6 · sha256 13117198e433
-- Seals over finished transactions, erasing payloads of entries, and moving entries to the archive.
--
-- A batch contains the entries of all transactions below the horizon (`pg_snapshot_xmin`) that no earlier batch
-- contains: transactions below it have ended, so no entry can be added later. Each month in the batch gets a seal;
-- Python computes the roots and signs them (services/history), since the key must stay out of the database.

-- Whether the actor is an administrator, or the owner of the database without an actor: these may seal and erase.
CREATE OR REPLACE FUNCTION public.may_seal()
RETURNS boolean LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN public.actor_may('*', '*') OR public.actor_id() IS NULL AND public.is_owner_at_work();
REVOKE ALL ON FUNCTION public.may_seal() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.begin_seal()
RETURNS TABLE (epoch bigint, low_xid xid8, high_xid xid8, next_xid xid8, sealed_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    own_epoch bigint := (SELECT system_identifier FROM pg_control_system());
    horizon pg_snapshot;
BEGIN
    IF NOT public.may_seal() THEN
        RAISE EXCEPTION 'only administrators may seal' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- One transaction at a time: the next batch begins where this one ends. No session may lock the table otherwise.
    LOCK TABLE public.activity_seals IN SHARE ROW EXCLUSIVE MODE;
    horizon := pg_current_snapshot();
    sealed_at := clock_timestamp();
    FOR epoch, low_xid IN
        SELECT s.epoch, max(s.high_xid) FROM public.activity_seals s GROUP BY s.epoch
        UNION ALL
        -- Only while this cluster has no seal: entries restored from a dump have another epoch.
        SELECT DISTINCT l.epoch, '0'::xid8 FROM public.activity_logs l
         WHERE NOT EXISTS (SELECT FROM public.activity_seals s WHERE s.epoch = own_epoch)
           AND NOT EXISTS (SELECT FROM public.activity_seals s WHERE s.epoch = l.epoch)
        ORDER BY 1
    LOOP
        high_xid := pg_snapshot_xmin(horizon);
        next_xid := pg_snapshot_xmax(horizon);
        IF epoch <> own_epoch THEN
            -- Transactions of another cluster have ended, as far as they arrived here; more may arrive later.
            SELECT coalesce(max(l.transaction_id)::text::bigint + 1, 0)::text::xid8 INTO high_xid
              FROM public.activity_logs l WHERE l.epoch = begin_seal.epoch
               AND l.transaction_id::text::bigint >= begin_seal.low_xid::text::bigint;
            high_xid := greatest(high_xid, low_xid);
            next_xid := high_xid;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION public.begin_seal() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.begin_seal() TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.append_seal(seal jsonb, leaves bytea)
RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $body$
DECLARE
    newest public.activity_seals;
    reached xid8;
    s record;
BEGIN
    IF NOT public.may_seal() THEN
        RAISE EXCEPTION 'only administrators may seal' USING ERRCODE = 'insufficient_privilege';
    END IF;
    LOCK TABLE public.activity_seals IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO s FROM jsonb_to_record(seal) AS x (id bigint, previous_id bigint, month date, epoch bigint,
        low_xid text, high_xid text, next_xid text, entry_count bigint, sealed_at timestamptz, root text,
        seal_hash text, signature text, signing_key text);
    SELECT * INTO newest FROM public.activity_seals ORDER BY id DESC LIMIT 1;
    SELECT max(o.high_xid) INTO reached FROM public.activity_seals o
     WHERE o.epoch = s.epoch AND NOT (o.low_xid = s.low_xid::xid8 AND o.high_xid = s.high_xid::xid8);
    IF newest.id IS DISTINCT FROM s.previous_id OR s.id <> coalesce(newest.id, 0) + 1
       OR s.low_xid::xid8 < coalesce(reached, '0'::xid8) OR octet_length(leaves) <> 40 * s.entry_count
       OR s.epoch = (SELECT system_identifier FROM pg_control_system())
          AND s.high_xid::xid8 > pg_snapshot_xmin(pg_current_snapshot()) THEN
        RAISE EXCEPTION 'the seal does not continue the chain; seal again' USING ERRCODE = 'STI02',
            CONSTRAINT = 'activity_seals_chain_check', TABLE = 'activity_seals';
    END IF;
    INSERT INTO public.activity_seals (id, created_at, previous_id, month, epoch, low_xid, high_xid, next_xid,
        entry_count, root, leaves, seal_hash, signature, signing_key)
    VALUES (s.id, s.sealed_at, s.previous_id, s.month, s.epoch, s.low_xid::xid8, s.high_xid::xid8, s.next_xid::xid8,
        s.entry_count, decode(s.root, 'hex'), append_seal.leaves, decode(s.seal_hash, 'hex'),
        decode(s.signature, 'hex'), s.signing_key);
    RETURN s.id;
END
$body$;
REVOKE ALL ON FUNCTION public.append_seal(jsonb, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.append_seal(jsonb, bytea) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.guard_seal()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The only change allowed: pruned_at is set when the entries move to the archive.
    IF TG_OP = 'UPDATE' AND OLD.pruned_at IS NULL AND NEW.pruned_at IS NOT NULL
       AND to_jsonb(OLD) - '{pruned_at,updated_at}'::text[] = to_jsonb(NEW) - '{pruned_at,updated_at}'::text[] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% on activity_seals is not allowed: seals are final', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.guard_seal() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.guard_entry()
RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    -- The only change allowed: erasing the payload. The hashes stay, and `erase_payloads` logs the change.
    IF TG_OP = 'UPDATE' AND current_setting('sti.erasing', true) = 'on' AND NEW.old IS NULL AND NEW.new IS NULL
       AND NEW.salt IS NULL AND to_jsonb(OLD) - '{old,new,salt}'::text[] = to_jsonb(NEW) - '{old,new,salt}'::text[] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% on activity_logs is not allowed: the log is append-only', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$body$;
REVOKE ALL ON FUNCTION public.guard_entry() FROM PUBLIC;

CREATE OR REPLACE FUNCTION public.erase_payloads(case_id bigint, user_id bigint, max_rows integer)
RETURNS bigint[] LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    erased bigint[];
    present record;
BEGIN
    IF NOT public.may_seal() THEN
        RAISE EXCEPTION 'only administrators may erase' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (case_id IS NULL) = (user_id IS NULL) THEN
        RAISE EXCEPTION 'pass either case_id or user_id' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF case_id IS NOT NULL THEN
        PERFORM public.require_no_hold(case_id, 'activity_logs');
    END IF;
    PERFORM set_config('sti.erasing', 'on', true);
    WITH chosen AS (
        SELECT l.id, l.created_at FROM public.activity_logs l
         WHERE (l.old IS NOT NULL OR l.new IS NOT NULL) AND l.salt IS NOT NULL
           AND (l.case_id = erase_payloads.case_id OR l.entity = 'users' AND l.entity_id = erase_payloads.user_id)
           -- Entries about erased or archived entries must stay readable.
           AND l.activity_type_id <> ALL (SELECT t.id FROM public.activity_types t WHERE t.code ~ '^history[.]')
           -- What this transaction wrote in place of erased entries: the present rows.
           AND NOT (l.operation = 'baseline' AND l.transaction_id = pg_current_xact_id())
         ORDER BY l.id LIMIT max_rows
    ), done AS (
        UPDATE public.activity_logs l SET old = NULL, new = NULL, salt = NULL FROM chosen c
         WHERE l.id = c.id AND l.created_at = c.created_at RETURNING l.id
    )
    SELECT array_agg(d.id ORDER BY d.id) INTO erased FROM done d;
    PERFORM set_config('sti.erasing', '', true);
    IF erased IS NOT NULL THEN
        PERFORM public.append_activity('history.erased', 'event', public.signed_actor(), public.actor_name(), case_id,
            CASE WHEN user_id IS NOT NULL THEN 'users' ELSE 'cases' END, coalesce(user_id, case_id), NULL,
            jsonb_build_object('entries', to_jsonb(erased)), NULL);
        FOR present IN
            SELECT l.entity, array_agg(DISTINCT l.entity_id) AS ids FROM public.activity_logs l
             WHERE l.id = ANY (erased) AND l.operation <> 'event' AND l.entity IS NOT NULL
             GROUP BY l.entity ORDER BY l.entity
        LOOP
            PERFORM public.renew_baselines(present.entity, present.ids);
        END LOOP;
    END IF;
    RETURN coalesce(erased, '{}');
END
$body$;
REVOKE ALL ON FUNCTION public.erase_payloads(bigint, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.erase_payloads(bigint, bigint, integer) TO sti_app, sti_wide, sti_admin;

CREATE OR REPLACE FUNCTION public.empty_default_partition()
RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' AS $body$
DECLARE
    first_day timestamptz;
    name text;
    moved bigint;
BEGIN
    PERFORM public.lock_name('activity_logs partitions');
    IF NOT EXISTS (SELECT FROM ONLY public.activity_logs_default) THEN
        RETURN 0;
    END IF;
    ALTER TABLE public.activity_logs DETACH PARTITION public.activity_logs_default;
    FOR first_day IN SELECT DISTINCT date_trunc('month', d.created_at) FROM public.activity_logs_default d LOOP
        name := 'activity_logs_' || to_char(first_day, 'YYYY_MM');
        IF to_regclass('public.' || name) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.activity_logs FOR VALUES FROM (%L) TO (%L)',
                name, first_day, first_day + interval '1 month');
        END IF;
    END LOOP;
    INSERT INTO public.activity_logs OVERRIDING SYSTEM VALUE SELECT * FROM public.activity_logs_default;
    GET DIAGNOSTICS moved = ROW_COUNT;
    DROP TABLE public.activity_logs_default;
    CREATE TABLE public.activity_logs_default PARTITION OF public.activity_logs DEFAULT;
    RETURN moved;
END
$body$;
REVOKE ALL ON FUNCTION public.empty_default_partition() FROM PUBLIC;

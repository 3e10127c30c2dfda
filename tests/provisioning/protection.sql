-- revision 1001, declarations of build 26

-- activity_archives
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.activity_archives
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.activity_archives
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.activity_archives ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.activity_archives ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS activity_archives_admin_select ON public.activity_archives;
CREATE POLICY activity_archives_admin_select ON public.activity_archives FOR SELECT TO sti_admin
    USING ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.activity_archives TO sti_admin;

-- activity_logs
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.activity_logs
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.activity_logs ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON public.activity_logs
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_entry();
ALTER TABLE public.activity_logs ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE public.activity_logs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS activity_logs_app_select ON public.activity_logs;
CREATE POLICY activity_logs_app_select ON public.activity_logs FOR SELECT TO sti_app
    USING ((((SELECT public.actor_case_flags()))[case_id] OR (case_id IS NULL AND ((SELECT public.actor_key()))[actor_id] IS NOT NULL)) AND (case_id = ANY ((SELECT public.actor_case_ids())::integer[]) OR (case_id IS NULL AND actor_id = (SELECT public.actor_id()))));
DROP POLICY IF EXISTS activity_logs_wide_select ON public.activity_logs;
CREATE POLICY activity_logs_wide_select ON public.activity_logs FOR SELECT TO sti_wide
    USING ((((SELECT public.actor_case_flags()))[case_id] OR (case_id IS NULL AND ((SELECT public.actor_key()))[actor_id] IS NOT NULL)) AND (case_id >= ANY ((SELECT public.actor_wide_from())::integer[]) OR (case_id IS NULL AND actor_id = (SELECT public.actor_id()))));
DROP POLICY IF EXISTS activity_logs_admin_select ON public.activity_logs;
CREATE POLICY activity_logs_admin_select ON public.activity_logs FOR SELECT TO sti_admin
    USING ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.activity_logs TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.activity_logs ALTER COLUMN actor SET STATISTICS 0, ALTER COLUMN entity SET STATISTICS 0, ALTER COLUMN old SET STATISTICS 0, ALTER COLUMN new SET STATISTICS 0, ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN request_id SET STATISTICS 0;
ALTER INDEX public.activity_logs_entity_idx ALTER COLUMN 1 SET STATISTICS 0;

-- activity_seals
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.activity_seals
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER guard_seal BEFORE UPDATE OR DELETE ON public.activity_seals
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_seal();
ALTER TABLE public.activity_seals ENABLE ALWAYS TRIGGER guard_seal;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.activity_seals
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('seals are final');
ALTER TABLE public.activity_seals ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.activity_seals ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS activity_seals_admin_select ON public.activity_seals;
CREATE POLICY activity_seals_admin_select ON public.activity_seals FOR SELECT TO sti_admin
    USING ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.activity_seals TO sti_admin;

-- activity_types
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.activity_types
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.activity_types
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.activity_types
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.activity_types
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.activity_types
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.activity_types
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER keep_type BEFORE DELETE ON public.activity_types
    FOR EACH ROW WHEN ((OLD.code ~ '^(row|history|schema)[.]') AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the database itself writes entries of this type');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER keep_type;
CREATE OR REPLACE TRIGGER keep_type_code BEFORE UPDATE OF code ON public.activity_types
    FOR EACH ROW WHEN ((OLD.code ~ '^(row|history|schema)[.]' AND OLD.code <> NEW.code) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the database itself writes entries of this type');
ALTER TABLE public.activity_types ENABLE ALWAYS TRIGGER keep_type_code;
ALTER TABLE public.activity_types ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS activity_types_app_select ON public.activity_types;
CREATE POLICY activity_types_app_select ON public.activity_types FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS activity_types_wide_select ON public.activity_types;
CREATE POLICY activity_types_wide_select ON public.activity_types FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS activity_types_admin_all ON public.activity_types;
CREATE POLICY activity_types_admin_all ON public.activity_types FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.activity_types TO sti_app, sti_wide;
GRANT SELECT ON public.activity_types TO sti_admin;
GRANT INSERT, DELETE ON public.activity_types TO sti_admin;
GRANT UPDATE ON public.activity_types TO sti_admin;

-- actor_keys
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.actor_keys
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.actor_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.actor_keys ALTER COLUMN inner_pad SET STATISTICS 0, ALTER COLUMN outer_pad SET STATISTICS 0;

-- analysis_results
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.analysis_results
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.analysis_results
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', '', '', 'write');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.analysis_results
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'write');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.analysis_results
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'write');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.analysis_results
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER stamp_accepted_at BEFORE INSERT ON public.analysis_results
    FOR EACH ROW WHEN (NEW.accepted_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('accepted_at');
CREATE OR REPLACE TRIGGER stamp_new_accepted_at BEFORE UPDATE OF accepted_at ON public.analysis_results
    FOR EACH ROW WHEN (NEW.accepted_at IS NOT NULL AND OLD.accepted_at IS DISTINCT FROM NEW.accepted_at) EXECUTE FUNCTION public.stamp_moment('accepted_at');
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.analysis_results
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.analysis_results
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.analysis_results ENABLE ALWAYS TRIGGER guard_hold;
ALTER TABLE public.analysis_results ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS analysis_results_app_select ON public.analysis_results;
CREATE POLICY analysis_results_app_select ON public.analysis_results FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS analysis_results_app_insert ON public.analysis_results;
CREATE POLICY analysis_results_app_insert ON public.analysis_results FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true) AND coalesce(created_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS analysis_results_app_update ON public.analysis_results;
CREATE POLICY analysis_results_app_update ON public.analysis_results FOR UPDATE TO sti_app
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS analysis_results_app_delete ON public.analysis_results;
CREATE POLICY analysis_results_app_delete ON public.analysis_results FOR DELETE TO sti_app
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS analysis_results_wide_select ON public.analysis_results;
CREATE POLICY analysis_results_wide_select ON public.analysis_results FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS analysis_results_wide_insert ON public.analysis_results;
CREATE POLICY analysis_results_wide_insert ON public.analysis_results FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true) AND coalesce(created_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS analysis_results_wide_update ON public.analysis_results;
CREATE POLICY analysis_results_wide_update ON public.analysis_results FOR UPDATE TO sti_wide
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS analysis_results_wide_delete ON public.analysis_results;
CREATE POLICY analysis_results_wide_delete ON public.analysis_results FOR DELETE TO sti_wide
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS analysis_results_admin_all ON public.analysis_results;
CREATE POLICY analysis_results_admin_all ON public.analysis_results FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, audio_file_id, transcription_id, version, summary, sentiment_id, sentiment_score, details, details_schema, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.analysis_results TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.analysis_results TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.analysis_results TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (accepted_at, accepted_by_id) ON public.analysis_results TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.analysis_results ALTER COLUMN summary SET STATISTICS 0, ALTER COLUMN details SET STATISTICS 0;
ALTER INDEX public.analysis_results_search_idx ALTER COLUMN 1 SET STATISTICS 0;

-- audio_files
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.audio_files
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', '', '', 'write');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.audio_files
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'write');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.audio_files
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'write');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.audio_files
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER stamp_processed_at BEFORE INSERT ON public.audio_files
    FOR EACH ROW WHEN (NEW.processed_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('processed_at');
CREATE OR REPLACE TRIGGER stamp_new_processed_at BEFORE UPDATE OF processed_at ON public.audio_files
    FOR EACH ROW WHEN (NEW.processed_at IS NOT NULL AND OLD.processed_at IS DISTINCT FROM NEW.processed_at) EXECUTE FUNCTION public.stamp_moment('processed_at');
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.audio_files
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.audio_files
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER follow_status BEFORE INSERT OR UPDATE OF status_id, processed_at ON public.audio_files
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.follow_audio_status();
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER follow_status;
CREATE OR REPLACE TRIGGER guard_sensitive BEFORE UPDATE OF is_sensitive, sensitive_reason ON public.audio_files
    FOR EACH ROW WHEN ((OLD.is_sensitive AND (NOT NEW.is_sensitive OR OLD.sensitive_reason IS DISTINCT FROM NEW.sensitive_reason)) AND public.triggers_act()) EXECUTE FUNCTION public.guard_sensitive();
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER guard_sensitive;
CREATE OR REPLACE TRIGGER adopt BEFORE INSERT ON public.audio_files
    FOR EACH ROW EXECUTE FUNCTION public.adopt_object();
CREATE OR REPLACE TRIGGER adopt_moved BEFORE UPDATE OF path ON public.audio_files
    FOR EACH ROW WHEN (OLD.path <> NEW.path) EXECUTE FUNCTION public.adopt_object();
CREATE OR REPLACE TRIGGER release AFTER DELETE ON public.audio_files
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.release_object();
ALTER TABLE public.audio_files ENABLE ALWAYS TRIGGER release;
CREATE OR REPLACE TRIGGER release_moved AFTER UPDATE OF path ON public.audio_files
    FOR EACH ROW WHEN (OLD.path <> NEW.path) EXECUTE FUNCTION public.release_object();
ALTER TABLE public.audio_files ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS audio_files_app_select ON public.audio_files;
CREATE POLICY audio_files_app_select ON public.audio_files FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS audio_files_app_insert ON public.audio_files;
CREATE POLICY audio_files_app_insert ON public.audio_files FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(uploaded_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS audio_files_app_update ON public.audio_files;
CREATE POLICY audio_files_app_update ON public.audio_files FOR UPDATE TO sti_app
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS audio_files_app_delete ON public.audio_files;
CREATE POLICY audio_files_app_delete ON public.audio_files FOR DELETE TO sti_app
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS audio_files_wide_select ON public.audio_files;
CREATE POLICY audio_files_wide_select ON public.audio_files FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS audio_files_wide_insert ON public.audio_files;
CREATE POLICY audio_files_wide_insert ON public.audio_files FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(uploaded_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS audio_files_wide_update ON public.audio_files;
CREATE POLICY audio_files_wide_update ON public.audio_files FOR UPDATE TO sti_wide
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS audio_files_wide_delete ON public.audio_files;
CREATE POLICY audio_files_wide_delete ON public.audio_files FOR DELETE TO sti_wide
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS audio_files_admin_all ON public.audio_files;
CREATE POLICY audio_files_admin_all ON public.audio_files FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, name, path, size_bytes, sha256, content_type, duration_ms, sample_rate_hz, channels, codec, is_truncated, recorded_at, language_id, status_id, processed_at, error_message, storage_type, storage_config, uploaded_by_id, is_sensitive, sensitive_reason) ON public.audio_files TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.audio_files TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.audio_files TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (name, recorded_at, language_id, status_id, processed_at, error_message, is_sensitive, sensitive_reason) ON public.audio_files TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.audio_files ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN path SET STATISTICS 0, ALTER COLUMN sha256 SET STATISTICS 0, ALTER COLUMN error_message SET STATISTICS 0, ALTER COLUMN archive_reason SET STATISTICS 0, ALTER COLUMN sensitive_reason SET STATISTICS 0;
ALTER INDEX public.audio_files_name_lower_idx ALTER COLUMN 1 SET STATISTICS 0;

-- audio_statuses
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.audio_statuses
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.audio_statuses
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.audio_statuses ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.audio_statuses
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.audio_statuses ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.audio_statuses
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.audio_statuses ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.audio_statuses
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.audio_statuses ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.audio_statuses
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.audio_statuses ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.audio_statuses ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS audio_statuses_app_select ON public.audio_statuses;
CREATE POLICY audio_statuses_app_select ON public.audio_statuses FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS audio_statuses_wide_select ON public.audio_statuses;
CREATE POLICY audio_statuses_wide_select ON public.audio_statuses FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS audio_statuses_admin_all ON public.audio_statuses;
CREATE POLICY audio_statuses_admin_all ON public.audio_statuses FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.audio_statuses TO sti_app, sti_wide;
GRANT SELECT ON public.audio_statuses TO sti_admin;
GRANT INSERT, DELETE ON public.audio_statuses TO sti_admin;
GRANT UPDATE ON public.audio_statuses TO sti_admin;

-- case_access_changes
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_access_changes
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.case_access_changes ENABLE ROW LEVEL SECURITY;

-- case_accesses
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_accesses
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.case_accesses ENABLE ROW LEVEL SECURITY;

-- case_notes
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_notes
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_notes
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', '', '', 'write');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_notes
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'write');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_notes
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'write');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.case_notes
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_notes
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.case_notes
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.case_notes ENABLE ALWAYS TRIGGER guard_hold;
ALTER TABLE public.case_notes ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS case_notes_app_select ON public.case_notes;
CREATE POLICY case_notes_app_select ON public.case_notes FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS case_notes_app_insert ON public.case_notes;
CREATE POLICY case_notes_app_insert ON public.case_notes FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(author_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS case_notes_app_update ON public.case_notes;
CREATE POLICY case_notes_app_update ON public.case_notes FOR UPDATE TO sti_app
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS case_notes_app_delete ON public.case_notes;
CREATE POLICY case_notes_app_delete ON public.case_notes FOR DELETE TO sti_app
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS case_notes_wide_select ON public.case_notes;
CREATE POLICY case_notes_wide_select ON public.case_notes FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS case_notes_wide_insert ON public.case_notes;
CREATE POLICY case_notes_wide_insert ON public.case_notes FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(author_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS case_notes_wide_update ON public.case_notes;
CREATE POLICY case_notes_wide_update ON public.case_notes FOR UPDATE TO sti_wide
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS case_notes_wide_delete ON public.case_notes;
CREATE POLICY case_notes_wide_delete ON public.case_notes FOR DELETE TO sti_wide
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS case_notes_admin_all ON public.case_notes;
CREATE POLICY case_notes_admin_all ON public.case_notes FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, author_id, body) ON public.case_notes TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.case_notes TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.case_notes TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (body) ON public.case_notes TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.case_notes ALTER COLUMN body SET STATISTICS 0;
ALTER INDEX public.case_notes_search_idx ALTER COLUMN 1 SET STATISTICS 0;

-- case_participants
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_participants
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_participants
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', '', '', 'manage');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_participants
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'manage');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_participants
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'manage');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.case_participants
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_participants
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.case_participants
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER check_permissions BEFORE INSERT OR UPDATE OF permissions ON public.case_participants
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.check_permissions('case');
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER check_permissions;
CREATE OR REPLACE TRIGGER guard_grant BEFORE INSERT OR UPDATE OR DELETE ON public.case_participants
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_grant();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_grant;
CREATE OR REPLACE TRIGGER note_access AFTER INSERT OR DELETE ON public.case_participants
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.note_case_access();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER note_access;
CREATE OR REPLACE TRIGGER note_access_update AFTER UPDATE ON public.case_participants
    FOR EACH ROW WHEN ((OLD.case_id IS DISTINCT FROM NEW.case_id OR OLD.user_id IS DISTINCT FROM NEW.user_id OR OLD.role IS DISTINCT FROM NEW.role OR OLD.permissions IS DISTINCT FROM NEW.permissions OR OLD.expires_at IS DISTINCT FROM NEW.expires_at) AND public.triggers_act()) EXECUTE FUNCTION public.note_case_access();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER note_access_update;
CREATE OR REPLACE TRIGGER guard_owners AFTER DELETE ON public.case_participants
    FOR EACH ROW WHEN ((OLD.role = 'owner') AND public.triggers_act()) EXECUTE FUNCTION public.guard_owners();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_owners;
CREATE OR REPLACE TRIGGER guard_owners_update AFTER UPDATE ON public.case_participants
    FOR EACH ROW WHEN ((OLD.role = 'owner' AND (NEW.role <> 'owner' OR NEW.expires_at IS NOT NULL OR NEW.permissions <> OLD.permissions OR NEW.case_id <> OLD.case_id OR NEW.user_id <> OLD.user_id)) AND public.triggers_act()) EXECUTE FUNCTION public.guard_owners();
ALTER TABLE public.case_participants ENABLE ALWAYS TRIGGER guard_owners_update;
ALTER TABLE public.case_participants ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS case_participants_app_select ON public.case_participants;
CREATE POLICY case_participants_app_select ON public.case_participants FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS case_participants_app_insert ON public.case_participants;
CREATE POLICY case_participants_app_insert ON public.case_participants FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'manage') AND coalesce(added_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS case_participants_app_update ON public.case_participants;
CREATE POLICY case_participants_app_update ON public.case_participants FOR UPDATE TO sti_app
    USING (public.actor_may_in(case_id, 'manage'))
    WITH CHECK (public.actor_may_in(case_id, 'manage'));
DROP POLICY IF EXISTS case_participants_app_delete ON public.case_participants;
CREATE POLICY case_participants_app_delete ON public.case_participants FOR DELETE TO sti_app
    USING (public.actor_may_in(case_id, 'manage'));
DROP POLICY IF EXISTS case_participants_wide_select ON public.case_participants;
CREATE POLICY case_participants_wide_select ON public.case_participants FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS case_participants_wide_insert ON public.case_participants;
CREATE POLICY case_participants_wide_insert ON public.case_participants FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'manage') AND coalesce(added_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS case_participants_wide_update ON public.case_participants;
CREATE POLICY case_participants_wide_update ON public.case_participants FOR UPDATE TO sti_wide
    USING (public.actor_may_in(case_id, 'manage'))
    WITH CHECK (public.actor_may_in(case_id, 'manage'));
DROP POLICY IF EXISTS case_participants_wide_delete ON public.case_participants;
CREATE POLICY case_participants_wide_delete ON public.case_participants FOR DELETE TO sti_wide
    USING (public.actor_may_in(case_id, 'manage'));
DROP POLICY IF EXISTS case_participants_admin_all ON public.case_participants;
CREATE POLICY case_participants_admin_all ON public.case_participants FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, user_id, role, permissions, expires_at, added_by_id) ON public.case_participants TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.case_participants TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.case_participants TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (role, permissions, expires_at) ON public.case_participants TO sti_app, sti_wide, sti_admin;

-- case_priorities
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_priorities
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_priorities
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.case_priorities ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_priorities
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.case_priorities ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_priorities
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.case_priorities ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.case_priorities
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.case_priorities ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_priorities
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_priorities ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.case_priorities ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS case_priorities_app_select ON public.case_priorities;
CREATE POLICY case_priorities_app_select ON public.case_priorities FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS case_priorities_wide_select ON public.case_priorities;
CREATE POLICY case_priorities_wide_select ON public.case_priorities FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS case_priorities_admin_all ON public.case_priorities;
CREATE POLICY case_priorities_admin_all ON public.case_priorities FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.case_priorities TO sti_app, sti_wide;
GRANT SELECT ON public.case_priorities TO sti_admin;
GRANT INSERT, DELETE ON public.case_priorities TO sti_admin;
GRANT UPDATE ON public.case_priorities TO sti_admin;

-- case_status_moves
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_status_moves
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_status_moves
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.case_status_moves ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_status_moves
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.case_status_moves ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_status_moves
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.case_status_moves ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.case_status_moves
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.case_status_moves ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_status_moves
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_status_moves ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.case_status_moves ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS case_status_moves_app_select ON public.case_status_moves;
CREATE POLICY case_status_moves_app_select ON public.case_status_moves FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS case_status_moves_wide_select ON public.case_status_moves;
CREATE POLICY case_status_moves_wide_select ON public.case_status_moves FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS case_status_moves_admin_all ON public.case_status_moves;
CREATE POLICY case_status_moves_admin_all ON public.case_status_moves FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.case_status_moves TO sti_app, sti_wide;
GRANT SELECT ON public.case_status_moves TO sti_admin;
GRANT INSERT, DELETE ON public.case_status_moves TO sti_admin;
GRANT UPDATE ON public.case_status_moves TO sti_admin;

-- case_statuses
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.case_statuses
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.case_statuses
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.case_statuses ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.case_statuses
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.case_statuses ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.case_statuses
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.case_statuses ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.case_statuses
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.case_statuses ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.case_statuses
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.case_statuses ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.case_statuses ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS case_statuses_app_select ON public.case_statuses;
CREATE POLICY case_statuses_app_select ON public.case_statuses FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS case_statuses_wide_select ON public.case_statuses;
CREATE POLICY case_statuses_wide_select ON public.case_statuses FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS case_statuses_admin_all ON public.case_statuses;
CREATE POLICY case_statuses_admin_all ON public.case_statuses FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.case_statuses TO sti_app, sti_wide;
GRANT SELECT ON public.case_statuses TO sti_admin;
GRANT INSERT, DELETE ON public.case_statuses TO sti_admin;
GRANT UPDATE ON public.case_statuses TO sti_admin;

-- cases
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.cases
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('id', 'opened_mark,active_holds', '', 'write');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.cases
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('id', 'opened_mark,active_holds', '', 'write');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.cases
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('id', 'opened_mark,active_holds', '', 'write');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.cases
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER stamp_closed_at BEFORE INSERT ON public.cases
    FOR EACH ROW WHEN (NEW.closed_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('closed_at');
CREATE OR REPLACE TRIGGER stamp_new_closed_at BEFORE UPDATE OF closed_at ON public.cases
    FOR EACH ROW WHEN (NEW.closed_at IS NOT NULL AND OLD.closed_at IS DISTINCT FROM NEW.closed_at) EXECUTE FUNCTION public.stamp_moment('closed_at');
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.cases
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.cases
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER follow_status BEFORE INSERT OR UPDATE OF status_id, closed_at ON public.cases
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.follow_case_status();
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER follow_status;
CREATE OR REPLACE TRIGGER guard_sensitive BEFORE UPDATE OF is_sensitive, sensitive_reason ON public.cases
    FOR EACH ROW WHEN ((OLD.is_sensitive AND (NOT NEW.is_sensitive OR OLD.sensitive_reason IS DISTINCT FROM NEW.sensitive_reason)) AND public.triggers_act()) EXECUTE FUNCTION public.guard_sensitive();
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER guard_sensitive;
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.cases
    FOR EACH ROW WHEN (OLD.active_holds IS NOT DISTINCT FROM NEW.active_holds) EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER prepare BEFORE INSERT ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.prepare_case();
CREATE OR REPLACE TRIGGER own AFTER INSERT ON public.cases
    REFERENCING NEW TABLE AS new_cases FOR EACH STATEMENT EXECUTE FUNCTION public.own_case();
CREATE OR REPLACE TRIGGER count_holds BEFORE INSERT OR UPDATE OF active_holds ON public.cases
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.count_holds();
ALTER TABLE public.cases ENABLE ALWAYS TRIGGER count_holds;
ALTER TABLE public.cases ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS cases_app_select ON public.cases;
CREATE POLICY cases_app_select ON public.cases FOR SELECT TO sti_app
    USING ((((SELECT public.actor_case_flags()))[id] OR ((SELECT public.actor_opening()))[opened_mark] IS NOT NULL) AND (id = ANY ((SELECT public.actor_case_ids())::integer[]) OR opened_mark || '' = (SELECT public.actor_opening_mark())));
DROP POLICY IF EXISTS cases_app_insert ON public.cases;
CREATE POLICY cases_app_insert ON public.cases FOR INSERT TO sti_app
    WITH CHECK (opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open')));
DROP POLICY IF EXISTS cases_app_update ON public.cases;
CREATE POLICY cases_app_update ON public.cases FOR UPDATE TO sti_app
    USING (public.actor_may_in(id, 'write'))
    WITH CHECK (public.actor_may_in(id, 'write'));
DROP POLICY IF EXISTS cases_app_delete ON public.cases;
CREATE POLICY cases_app_delete ON public.cases FOR DELETE TO sti_app
    USING (public.actor_may_in(id, 'delete'));
DROP POLICY IF EXISTS cases_wide_select ON public.cases;
CREATE POLICY cases_wide_select ON public.cases FOR SELECT TO sti_wide
    USING ((((SELECT public.actor_case_flags()))[id] OR ((SELECT public.actor_opening()))[opened_mark] IS NOT NULL) AND (id >= ANY ((SELECT public.actor_wide_from())::integer[]) OR opened_mark || '' = (SELECT public.actor_opening_mark())));
DROP POLICY IF EXISTS cases_wide_insert ON public.cases;
CREATE POLICY cases_wide_insert ON public.cases FOR INSERT TO sti_wide
    WITH CHECK (opened_by_id = (SELECT public.actor_id()) AND (SELECT public.actor_may('case', 'open')));
DROP POLICY IF EXISTS cases_wide_update ON public.cases;
CREATE POLICY cases_wide_update ON public.cases FOR UPDATE TO sti_wide
    USING (public.actor_may_in(id, 'write'))
    WITH CHECK (public.actor_may_in(id, 'write'));
DROP POLICY IF EXISTS cases_wide_delete ON public.cases;
CREATE POLICY cases_wide_delete ON public.cases FOR DELETE TO sti_wide
    USING (public.actor_may_in(id, 'delete'));
DROP POLICY IF EXISTS cases_admin_all ON public.cases;
CREATE POLICY cases_admin_all ON public.cases FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_code, title, description, status_id, priority_id, opened_by_id, closed_at, is_sensitive, sensitive_reason) ON public.cases TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.cases TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.cases TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (case_code, title, description, status_id, priority_id, closed_at, is_sensitive, sensitive_reason) ON public.cases TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.cases ALTER COLUMN case_code SET STATISTICS 0, ALTER COLUMN title SET STATISTICS 0, ALTER COLUMN description SET STATISTICS 0, ALTER COLUMN sensitive_reason SET STATISTICS 0, ALTER COLUMN opened_mark SET STATISTICS 0;
ALTER INDEX public.cases_case_code_excl ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX public.cases_opened_mark_idx ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX public.cases_title_lower_idx ALTER COLUMN 1 SET STATISTICS 0;

-- database_identities
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.database_identities
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.database_identities ENABLE ROW LEVEL SECURITY;

-- languages
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.languages
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.languages
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.languages ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.languages
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.languages ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.languages
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.languages ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.languages
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.languages ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.languages
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.languages ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.languages ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS languages_app_select ON public.languages;
CREATE POLICY languages_app_select ON public.languages FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS languages_wide_select ON public.languages;
CREATE POLICY languages_wide_select ON public.languages FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS languages_admin_all ON public.languages;
CREATE POLICY languages_admin_all ON public.languages FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.languages TO sti_app, sti_wide;
GRANT SELECT ON public.languages TO sti_admin;
GRANT INSERT, DELETE ON public.languages TO sti_admin;
GRANT UPDATE ON public.languages TO sti_admin;

-- legal_holds
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.legal_holds
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.legal_holds
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', '', '', 'manage');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.legal_holds
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'manage');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.legal_holds
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', 'manage');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.legal_holds
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER stamp_released_at BEFORE INSERT ON public.legal_holds
    FOR EACH ROW WHEN (NEW.released_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('released_at');
CREATE OR REPLACE TRIGGER stamp_new_released_at BEFORE UPDATE OF released_at ON public.legal_holds
    FOR EACH ROW WHEN (NEW.released_at IS NOT NULL AND OLD.released_at IS DISTINCT FROM NEW.released_at) EXECUTE FUNCTION public.stamp_moment('released_at');
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.legal_holds
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.legal_holds
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER announce_hold AFTER INSERT OR UPDATE ON public.legal_holds
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.announce_hold();
ALTER TABLE public.legal_holds ENABLE ALWAYS TRIGGER announce_hold;
ALTER TABLE public.legal_holds ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS legal_holds_app_select ON public.legal_holds;
CREATE POLICY legal_holds_app_select ON public.legal_holds FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS legal_holds_app_insert ON public.legal_holds;
CREATE POLICY legal_holds_app_insert ON public.legal_holds FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'manage') AND coalesce(placed_by_id = (SELECT public.actor_id()), true) AND coalesce(released_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS legal_holds_app_update ON public.legal_holds;
CREATE POLICY legal_holds_app_update ON public.legal_holds FOR UPDATE TO sti_app
    USING (public.actor_may_in(case_id, 'manage'))
    WITH CHECK (public.actor_may_in(case_id, 'manage') AND coalesce(released_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS legal_holds_wide_select ON public.legal_holds;
CREATE POLICY legal_holds_wide_select ON public.legal_holds FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS legal_holds_wide_insert ON public.legal_holds;
CREATE POLICY legal_holds_wide_insert ON public.legal_holds FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'manage') AND coalesce(placed_by_id = (SELECT public.actor_id()), true) AND coalesce(released_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS legal_holds_wide_update ON public.legal_holds;
CREATE POLICY legal_holds_wide_update ON public.legal_holds FOR UPDATE TO sti_wide
    USING (public.actor_may_in(case_id, 'manage'))
    WITH CHECK (public.actor_may_in(case_id, 'manage') AND coalesce(released_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS legal_holds_admin_all ON public.legal_holds;
CREATE POLICY legal_holds_admin_all ON public.legal_holds FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, reason, placed_by_id, released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.legal_holds TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (released_at, released_by_id, release_reason) ON public.legal_holds TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.legal_holds ALTER COLUMN reason SET STATISTICS 0, ALTER COLUMN release_reason SET STATISTICS 0;

-- log_overflows
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.log_overflows
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.log_overflows ENABLE ROW LEVEL SECURITY;

-- login_throttles
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.login_throttles
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.login_throttles ENABLE ROW LEVEL SECURITY;

-- name_locks
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.name_locks
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.name_locks ENABLE ROW LEVEL SECURITY;

-- permission_subjects
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.permission_subjects
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.permission_subjects
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.permission_subjects ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.permission_subjects
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.permission_subjects ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.permission_subjects
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.permission_subjects ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.permission_subjects
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.permission_subjects ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.permission_subjects
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.permission_subjects ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER keep_granted BEFORE UPDATE OR DELETE ON public.permission_subjects
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.keep_granted_verbs();
ALTER TABLE public.permission_subjects ENABLE ALWAYS TRIGGER keep_granted;
ALTER TABLE public.permission_subjects ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS permission_subjects_app_select ON public.permission_subjects;
CREATE POLICY permission_subjects_app_select ON public.permission_subjects FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS permission_subjects_wide_select ON public.permission_subjects;
CREATE POLICY permission_subjects_wide_select ON public.permission_subjects FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS permission_subjects_admin_all ON public.permission_subjects;
CREATE POLICY permission_subjects_admin_all ON public.permission_subjects FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.permission_subjects TO sti_app, sti_wide;
GRANT SELECT ON public.permission_subjects TO sti_admin;
GRANT INSERT, DELETE ON public.permission_subjects TO sti_admin;
GRANT UPDATE ON public.permission_subjects TO sti_admin;

-- processing_jobs
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.processing_jobs
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row('lease_expires_at');
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.processing_jobs
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', 'lease_expires_at', '', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.processing_jobs
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.processing_jobs
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER stamp_started_at BEFORE INSERT ON public.processing_jobs
    FOR EACH ROW WHEN (NEW.started_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('started_at');
CREATE OR REPLACE TRIGGER stamp_new_started_at BEFORE UPDATE OF started_at ON public.processing_jobs
    FOR EACH ROW WHEN (NEW.started_at IS NOT NULL AND OLD.started_at IS DISTINCT FROM NEW.started_at) EXECUTE FUNCTION public.stamp_moment('started_at');
CREATE OR REPLACE TRIGGER stamp_finished_at BEFORE INSERT ON public.processing_jobs
    FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('finished_at');
CREATE OR REPLACE TRIGGER stamp_new_finished_at BEFORE UPDATE OF finished_at ON public.processing_jobs
    FOR EACH ROW WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS DISTINCT FROM NEW.finished_at) EXECUTE FUNCTION public.stamp_moment('finished_at');
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.processing_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.processing_jobs
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER stamp_run_after BEFORE INSERT ON public.processing_jobs
    FOR EACH ROW WHEN (NEW.run_after < now() AND public.readable_time_1(NEW.run_after)) EXECUTE FUNCTION public.stamp_moment('run_after');
CREATE OR REPLACE TRIGGER capture_change AFTER DELETE ON public.processing_jobs
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER capture_outcome AFTER UPDATE ON public.processing_jobs
    FOR EACH ROW WHEN ((OLD.state IS DISTINCT FROM NEW.state OR OLD.lease IS DISTINCT FROM NEW.lease OR OLD.lease_expires_at IS NOT DISTINCT FROM NEW.lease_expires_at) AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', 'lease_expires_at', '', '');
ALTER TABLE public.processing_jobs ENABLE ALWAYS TRIGGER capture_outcome;
ALTER TABLE public.processing_jobs ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS processing_jobs_app_select ON public.processing_jobs;
CREATE POLICY processing_jobs_app_select ON public.processing_jobs FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS processing_jobs_app_insert ON public.processing_jobs;
CREATE POLICY processing_jobs_app_insert ON public.processing_jobs FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write') AND state = 'queued' AND coalesce(created_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS processing_jobs_app_delete ON public.processing_jobs;
CREATE POLICY processing_jobs_app_delete ON public.processing_jobs FOR DELETE TO sti_app
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS processing_jobs_wide_select ON public.processing_jobs;
CREATE POLICY processing_jobs_wide_select ON public.processing_jobs FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS processing_jobs_wide_insert ON public.processing_jobs;
CREATE POLICY processing_jobs_wide_insert ON public.processing_jobs FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write') AND state = 'queued' AND coalesce(created_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS processing_jobs_wide_delete ON public.processing_jobs;
CREATE POLICY processing_jobs_wide_delete ON public.processing_jobs FOR DELETE TO sti_wide
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS processing_jobs_admin_all ON public.processing_jobs;
CREATE POLICY processing_jobs_admin_all ON public.processing_jobs FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, audio_file_id, kind, priority, payload, result, run_after, max_attempts, leased_by_id, lease_expires_at, worker, started_at, finished_at, error_message, created_by_id) ON public.processing_jobs TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.processing_jobs TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.processing_jobs TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.processing_jobs ALTER COLUMN payload SET STATISTICS 0, ALTER COLUMN result SET STATISTICS 0, ALTER COLUMN error_message SET STATISTICS 0;

-- protected_tables
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.protected_tables
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
ALTER TABLE public.protected_tables ENABLE ROW LEVEL SECURITY;
GRANT SELECT (id) ON public.protected_tables TO sti_app, sti_wide, sti_admin;

-- sentiments
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.sentiments
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.sentiments
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.sentiments ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.sentiments
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.sentiments ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.sentiments
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.sentiments ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.sentiments
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.sentiments ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.sentiments
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.sentiments ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.sentiments ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS sentiments_app_select ON public.sentiments;
CREATE POLICY sentiments_app_select ON public.sentiments FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS sentiments_wide_select ON public.sentiments;
CREATE POLICY sentiments_wide_select ON public.sentiments FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS sentiments_admin_all ON public.sentiments;
CREATE POLICY sentiments_admin_all ON public.sentiments FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.sentiments TO sti_app, sti_wide;
GRANT SELECT ON public.sentiments TO sti_admin;
GRANT INSERT, DELETE ON public.sentiments TO sti_admin;
GRANT UPDATE ON public.sentiments TO sti_admin;

-- storage_objects
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.storage_objects
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.storage_objects
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.storage_objects
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.storage_objects
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', '');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.storage_objects
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', '');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE ON public.storage_objects
    FOR EACH ROW WHEN ((OLD.state <> 'pending' OR NEW.state <> 'pending') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', '');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER capture_pending AFTER UPDATE ON public.storage_objects
    FOR EACH ROW WHEN ((OLD.state = 'pending' AND NEW.state = 'pending') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', '');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER capture_pending;
CREATE OR REPLACE TRIGGER capture_removal AFTER DELETE ON public.storage_objects
    FOR EACH ROW WHEN ((OLD.state <> 'pending') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', '', '', '');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER capture_removal;
CREATE OR REPLACE TRIGGER capture_pending_removal AFTER DELETE ON public.storage_objects
    FOR EACH ROW WHEN ((OLD.state = 'pending') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', '');
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER capture_pending_removal;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.storage_objects
    FOR EACH ROW WHEN ((OLD.state <> 'pending' OR starts_with(OLD.key, 'archive/')) AND public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.storage_objects ENABLE ALWAYS TRIGGER guard_hold;
ALTER TABLE public.storage_objects ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS storage_objects_admin_all ON public.storage_objects;
CREATE POLICY storage_objects_admin_all ON public.storage_objects FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.storage_objects TO sti_admin;
ALTER TABLE public.storage_objects ALTER COLUMN sha256 SET STATISTICS 0;

-- storages
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.storages
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.storages
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.storages ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE public.storages ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS storages_admin_select ON public.storages;
CREATE POLICY storages_admin_select ON public.storages FOR SELECT TO sti_admin
    USING ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.storages TO sti_admin;

-- transcription_segments
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transcription_segments
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.transcription_segments
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER guard_new_parts AFTER INSERT ON public.transcription_segments
    REFERENCING NEW TABLE AS new_parts FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_new_parts();
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER guard_new_parts;
CREATE OR REPLACE TRIGGER guard_part BEFORE UPDATE OR DELETE ON public.transcription_segments
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_part();
ALTER TABLE public.transcription_segments ENABLE ALWAYS TRIGGER guard_part;
ALTER TABLE public.transcription_segments ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS transcription_segments_app_select ON public.transcription_segments;
CREATE POLICY transcription_segments_app_select ON public.transcription_segments FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS transcription_segments_app_insert ON public.transcription_segments;
CREATE POLICY transcription_segments_app_insert ON public.transcription_segments FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS transcription_segments_wide_select ON public.transcription_segments;
CREATE POLICY transcription_segments_wide_select ON public.transcription_segments FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS transcription_segments_wide_insert ON public.transcription_segments;
CREATE POLICY transcription_segments_wide_insert ON public.transcription_segments FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS transcription_segments_admin_all ON public.transcription_segments;
CREATE POLICY transcription_segments_admin_all ON public.transcription_segments FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, transcription_id, position, start_ms, end_ms, speaker, text, words, confidence, flags, search_config) ON public.transcription_segments TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.transcription_segments TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.transcription_segments ALTER COLUMN speaker SET STATISTICS 0, ALTER COLUMN text SET STATISTICS 0, ALTER COLUMN words SET STATISTICS 0, ALTER COLUMN search_config SET STATISTICS 0;

-- transcription_sources
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.transcription_sources
    FOR EACH ROW EXECUTE FUNCTION public.touch_row();
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transcription_sources
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.transcription_sources
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER guard_hold;
CREATE OR REPLACE TRIGGER guard_new_parts AFTER INSERT ON public.transcription_sources
    REFERENCING NEW TABLE AS new_parts FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_new_parts();
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER guard_new_parts;
CREATE OR REPLACE TRIGGER guard_part BEFORE UPDATE OR DELETE ON public.transcription_sources
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_part();
ALTER TABLE public.transcription_sources ENABLE ALWAYS TRIGGER guard_part;
CREATE OR REPLACE TRIGGER place BEFORE INSERT ON public.transcription_sources
    FOR EACH ROW EXECUTE FUNCTION public.place_source();
ALTER TABLE public.transcription_sources ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS transcription_sources_app_select ON public.transcription_sources;
CREATE POLICY transcription_sources_app_select ON public.transcription_sources FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS transcription_sources_app_insert ON public.transcription_sources;
CREATE POLICY transcription_sources_app_insert ON public.transcription_sources FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS transcription_sources_wide_select ON public.transcription_sources;
CREATE POLICY transcription_sources_wide_select ON public.transcription_sources FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS transcription_sources_wide_insert ON public.transcription_sources;
CREATE POLICY transcription_sources_wide_insert ON public.transcription_sources FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write'));
DROP POLICY IF EXISTS transcription_sources_admin_all ON public.transcription_sources;
CREATE POLICY transcription_sources_admin_all ON public.transcription_sources FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, transcription_id, dialect, name, sha256, content) ON public.transcription_sources TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.transcription_sources TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.transcription_sources ALTER COLUMN name SET STATISTICS 0, ALTER COLUMN sha256 SET STATISTICS 0, ALTER COLUMN content SET STATISTICS 0;

-- transcriptions
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.transcriptions
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row('content');
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.transcriptions
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('case_id', 'content', '', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.transcriptions
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', 'content', '', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.transcriptions
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('case_id', 'content', '', '');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.transcriptions
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER stamp_accepted_at BEFORE INSERT ON public.transcriptions
    FOR EACH ROW WHEN (NEW.accepted_at IS NOT NULL) EXECUTE FUNCTION public.stamp_moment('accepted_at');
CREATE OR REPLACE TRIGGER stamp_new_accepted_at BEFORE UPDATE OF accepted_at ON public.transcriptions
    FOR EACH ROW WHEN (NEW.accepted_at IS NOT NULL AND OLD.accepted_at IS DISTINCT FROM NEW.accepted_at) EXECUTE FUNCTION public.stamp_moment('accepted_at');
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transcriptions
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER guard_hold BEFORE DELETE ON public.transcriptions
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hold();
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER guard_hold;
DROP TRIGGER IF EXISTS finish_version ON public.transcriptions;
CREATE CONSTRAINT TRIGGER finish_version AFTER INSERT ON public.transcriptions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.finish_version();
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER finish_version;
CREATE OR REPLACE TRIGGER guard_text BEFORE UPDATE OF content, case_id, audio_file_id, language_id, version ON public.transcriptions
    FOR EACH ROW WHEN ((OLD.content IS DISTINCT FROM NEW.content OR OLD.case_id IS DISTINCT FROM NEW.case_id OR OLD.audio_file_id IS DISTINCT FROM NEW.audio_file_id OR OLD.language_id IS DISTINCT FROM NEW.language_id OR OLD.version IS DISTINCT FROM NEW.version) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('a version is never edited, add a new one');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER guard_text;
CREATE OR REPLACE TRIGGER guard_digest BEFORE UPDATE OF segments_sha256 ON public.transcriptions
    FOR EACH ROW WHEN ((OLD.segments_sha256 IS NOT NULL AND OLD.segments_sha256 IS DISTINCT FROM NEW.segments_sha256) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('a version is finished once');
ALTER TABLE public.transcriptions ENABLE ALWAYS TRIGGER guard_digest;
ALTER TABLE public.transcriptions ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS transcriptions_app_select ON public.transcriptions;
CREATE POLICY transcriptions_app_select ON public.transcriptions FOR SELECT TO sti_app
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id = ANY ((SELECT public.actor_case_ids())::integer[]));
DROP POLICY IF EXISTS transcriptions_app_insert ON public.transcriptions;
CREATE POLICY transcriptions_app_insert ON public.transcriptions FOR INSERT TO sti_app
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true) AND coalesce(created_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS transcriptions_app_update ON public.transcriptions;
CREATE POLICY transcriptions_app_update ON public.transcriptions FOR UPDATE TO sti_app
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS transcriptions_app_delete ON public.transcriptions;
CREATE POLICY transcriptions_app_delete ON public.transcriptions FOR DELETE TO sti_app
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS transcriptions_wide_select ON public.transcriptions;
CREATE POLICY transcriptions_wide_select ON public.transcriptions FOR SELECT TO sti_wide
    USING (((SELECT public.actor_case_flags()))[case_id] AND case_id >= ANY ((SELECT public.actor_wide_from())::integer[]));
DROP POLICY IF EXISTS transcriptions_wide_insert ON public.transcriptions;
CREATE POLICY transcriptions_wide_insert ON public.transcriptions FOR INSERT TO sti_wide
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true) AND coalesce(created_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS transcriptions_wide_update ON public.transcriptions;
CREATE POLICY transcriptions_wide_update ON public.transcriptions FOR UPDATE TO sti_wide
    USING (public.actor_may_in(case_id, 'write'))
    WITH CHECK (public.actor_may_in(case_id, 'write') AND coalesce(accepted_by_id = (SELECT public.actor_id()), true));
DROP POLICY IF EXISTS transcriptions_wide_delete ON public.transcriptions;
CREATE POLICY transcriptions_wide_delete ON public.transcriptions FOR DELETE TO sti_wide
    USING (public.actor_may_in(case_id, 'delete'));
DROP POLICY IF EXISTS transcriptions_admin_all ON public.transcriptions;
CREATE POLICY transcriptions_admin_all ON public.transcriptions FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT INSERT (case_id, audio_file_id, language_id, version, based_on_id, content, confidence, model_name, model_version, accepted_at, accepted_by_id, created_by_id) ON public.transcriptions TO sti_app, sti_wide, sti_admin;
GRANT SELECT ON public.transcriptions TO sti_app, sti_wide, sti_admin;
GRANT DELETE ON public.transcriptions TO sti_app, sti_wide, sti_admin;
GRANT UPDATE (accepted_at, accepted_by_id) ON public.transcriptions TO sti_app, sti_wide, sti_admin;
ALTER TABLE public.transcriptions ALTER COLUMN content SET STATISTICS 0;

-- user_roles
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.user_roles
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row();
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.user_roles
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', '', '', 'write');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.user_roles
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.user_roles
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', '', '', 'write');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.user_roles
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.user_roles
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER check_permissions BEFORE INSERT OR UPDATE OF permissions ON public.user_roles
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.check_permissions('role');
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER check_permissions;
CREATE OR REPLACE TRIGGER guard_hierarchy BEFORE INSERT OR UPDATE OF parent_id, id ON public.user_roles
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_hierarchy();
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER guard_hierarchy;
CREATE OR REPLACE TRIGGER guard_administrators AFTER UPDATE OF parent_id, permissions ON public.user_roles
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_administrators();
ALTER TABLE public.user_roles ENABLE ALWAYS TRIGGER guard_administrators;
ALTER TABLE public.user_roles ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS user_roles_app_select ON public.user_roles;
CREATE POLICY user_roles_app_select ON public.user_roles FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS user_roles_wide_select ON public.user_roles;
CREATE POLICY user_roles_wide_select ON public.user_roles FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS user_roles_admin_all ON public.user_roles;
CREATE POLICY user_roles_admin_all ON public.user_roles FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT ON public.user_roles TO sti_app, sti_wide;
GRANT SELECT ON public.user_roles TO sti_admin;
GRANT INSERT, DELETE ON public.user_roles TO sti_admin;
GRANT UPDATE ON public.user_roles TO sti_admin;

-- users
CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.touch_versioned_row('sign_in_epoch');
CREATE OR REPLACE TRIGGER capture AFTER INSERT ON public.users
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_new_rows('', 'sign_in_epoch', 'email,password_hash', 'write');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture;
CREATE OR REPLACE TRIGGER capture_replicated AFTER INSERT ON public.users
    FOR EACH ROW WHEN ((pg_catalog.current_setting('session_replication_role') = 'replica') AND public.triggers_act()) EXECUTE FUNCTION public.capture_change('', 'sign_in_epoch', 'email,password_hash', 'write');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture_replicated;
CREATE OR REPLACE TRIGGER capture_change AFTER UPDATE OR DELETE ON public.users
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.capture_change('', 'sign_in_epoch', 'email,password_hash', 'write');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER capture_change;
CREATE OR REPLACE TRIGGER keep_id BEFORE UPDATE OF id ON public.users
    FOR EACH ROW WHEN ((OLD.id IS DISTINCT FROM NEW.id) AND public.triggers_act()) EXECUTE FUNCTION public.refuse_change('the id of a row cannot change');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER keep_id;
CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.users
    FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change('it would leave no trace, delete rows instead');
ALTER TABLE public.users ENABLE ALWAYS TRIGGER refuse_truncate;
CREATE OR REPLACE TRIGGER raise_sign_in_epoch BEFORE UPDATE ON public.users
    FOR EACH ROW WHEN ((OLD.is_active AND NOT NEW.is_active OR OLD.password_hash IS DISTINCT FROM NEW.password_hash AND OLD.last_login IS NOT DISTINCT FROM NEW.last_login) AND public.triggers_act()) EXECUTE FUNCTION public.raise_sign_in_epoch();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER raise_sign_in_epoch;
CREATE OR REPLACE TRIGGER guard_administrators AFTER UPDATE ON public.users
    FOR EACH ROW WHEN ((OLD.is_active AND (NOT NEW.is_active OR OLD.role_id <> NEW.role_id)) AND public.triggers_act()) EXECUTE FUNCTION public.guard_administrators();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER guard_administrators;
CREATE OR REPLACE TRIGGER guard_address BEFORE INSERT OR UPDATE OF email ON public.users
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.guard_address();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER guard_address;
CREATE OR REPLACE TRIGGER prepare_case_access AFTER INSERT ON public.users
    FOR EACH ROW WHEN (public.triggers_act()) EXECUTE FUNCTION public.prepare_case_access();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER prepare_case_access;
CREATE OR REPLACE TRIGGER guard_administrators_delete AFTER DELETE ON public.users
    FOR EACH ROW WHEN ((OLD.is_active) AND public.triggers_act()) EXECUTE FUNCTION public.guard_administrators();
ALTER TABLE public.users ENABLE ALWAYS TRIGGER guard_administrators_delete;
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS users_app_select ON public.users;
CREATE POLICY users_app_select ON public.users FOR SELECT TO sti_app
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS users_app_update ON public.users;
CREATE POLICY users_app_update ON public.users FOR UPDATE TO sti_app
    USING (id = (SELECT public.actor_id()))
    WITH CHECK (id = (SELECT public.actor_id()));
DROP POLICY IF EXISTS users_wide_select ON public.users;
CREATE POLICY users_wide_select ON public.users FOR SELECT TO sti_wide
    USING ((SELECT public.actor_id()) IS NOT NULL);
DROP POLICY IF EXISTS users_wide_update ON public.users;
CREATE POLICY users_wide_update ON public.users FOR UPDATE TO sti_wide
    USING (id = (SELECT public.actor_id()))
    WITH CHECK (id = (SELECT public.actor_id()));
DROP POLICY IF EXISTS users_admin_all ON public.users;
CREATE POLICY users_admin_all ON public.users FOR ALL TO sti_admin
    USING ((SELECT public.actor_may('*', '*')))
    WITH CHECK ((SELECT public.actor_may('*', '*')));
GRANT SELECT (id, username, full_name, is_active, role_id, created_at, updated_at, row_version) ON public.users TO sti_app, sti_wide;
GRANT UPDATE (email, full_name) ON public.users TO sti_app, sti_wide;
GRANT SELECT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users TO sti_admin;
GRANT DELETE ON public.users TO sti_admin;
GRANT INSERT (id, username, email, full_name, is_active, last_login, role_id, created_at, updated_at, row_version) ON public.users TO sti_admin;
GRANT UPDATE (username, email, full_name, is_active, role_id) ON public.users TO sti_admin;
ALTER TABLE public.users ALTER COLUMN email SET STATISTICS 0, ALTER COLUMN last_login SET STATISTICS 0, ALTER COLUMN password_hash SET STATISTICS 0;
ALTER INDEX public.users_email_lower_idx ALTER COLUMN 1 SET STATISTICS 0;

// page.mjs - an app in a browser: signs up, writes, reads, listens, and is refused things, all at a
// server of another origin. test_browser.mjs serves it and is told at /result how each step went.
const { url, key } = await (await fetch('/config')).json();
const client = globalThis.supabase.createClient(url, key, { auth: { persistSession: true } });
const results = [];
let user;
let news; // the next change

/** Within its time, or it has failed: nobody sees a page that hangs. */
const inTime = (promise) => Promise.race([
    promise,
    new Promise((_, reject) => { setTimeout(() => reject(new Error('nothing came')), 15000); }),
]);

const step = async (name, run) => {
    try {
        results.push({ name, value: await inTime(run()) });
    } catch (error) {
        results.push({ name, value: `failed: ${error.stack}` });
    }
};

const write = (key, data) => client.rpc('atomic_sync_upsert', {
    p_user_id: user.id, p_data_key: key, p_data: data, p_expected_version: null,
    p_device_id: 'page' });

await step('sign-up', async () => {
    const { data, error } = await client.auth.signUp({ email: `${crypto.randomUUID()}@example.com`,
                                                       password: 'correct horse' });
    user = data.user;
    return [error, data.session.token_type];
});

await step('refused sign-in', async () => {
    const { error } = await client.auth.signInWithPassword({ email: user.email,
                                                             password: 'wrong' });
    return [error.status, error.code]; // the code: its header is exposed
});

await step('session is kept', async () =>
    (await client.auth.refreshSession()).data.session.user.id === user.id);

await step('realtime', async () => {
    let tell;
    news = new Promise((resolve) => { tell = resolve; });
    const ended = await new Promise((resolve) => {
        client.channel(`user_sync_v2_${user.id}`)
            .on('postgres_changes', { event: '*', schema: 'public', table: 'user_sync_data_v2',
                                      filter: `user_id=eq.${user.id}` }, tell)
            .subscribe((status) => resolve(status));
    });
    return ended;
});

await step('rpc', async () => {
    const { data, error, status } = await write('settings', { theme: 'dünkel' });
    return [status, error, data.action];
});

await step('change', async () => {
    const change = await news;
    return [change.eventType, change.new.data];
});

await step('table', async () => {
    const { data, count, status } = await client.from('user_sync_data_v2')
        .select('data', { count: 'exact' }).eq('data_key', 'settings');
    return [status, count, data]; // the count: Content-Range is exposed
});

await step('head', async () => {
    const { count } = await client.from('user_sync_data_v2').select('*', { count: 'exact',
                                                                           head: true });
    return count;
});

await step('upsert, patch, delete', async () => {
    const table = () => client.from('user_sync_data');
    const wrap = (value) => ({ value, timestamp: '2026-01-01T10:00:00.000' });
    const upserted = await table().upsert({ user_id: user.id, data: { v1: wrap(1) } });
    const patched = await table().update({ data: { v1: wrap(2) } }).eq('user_id', user.id)
        .select('data').single();
    const deleted = await table().delete().eq('user_id', user.id);
    return [upserted.status, patched.data.data.v1.value, deleted.status];
});

await step('refused write', async () => {
    const { error, status } = await client.from('user_sync_data_v2')
        .insert({ user_id: user.id, data_key: 'x', data: {} });
    return [status, error.code];
});

await step('too large', async () => {
    const { error, status } = await write('settings', { a: 'x'.repeat(5 << 20) });
    return [status, typeof error.code];
});

await step('bad key', async () => {
    const stranger = globalThis.supabase.createClient(url, 'sb_publishable_wrong', {
        auth: { persistSession: false, storageKey: 'x' } });
    const { error, status } = await stranger.from('user_sync_data_v2').select('*');
    return [status, error.message];
});

await step('sign-out', async () => {
    const { error } = await client.auth.signOut();
    const { data } = await client.from('user_sync_data_v2').select('*');
    return [error, data];
});

await client.removeAllChannels();
await fetch('/result', { method: 'POST', body: JSON.stringify(results) });

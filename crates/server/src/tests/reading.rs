//! Lists page by page, and watches.

use super::*;

#[test]
fn pages_of_a_list_fit_together_whatever_happens_between_them() {
    let api = Harness::new();
    for name in ["a", "b", "c"] {
        api.create("configmaps", "default", config(name)).unwrap();
    }
    let page = |options| match api.list("configmaps", options).unwrap().answer {
        Answer::List(list) => list,
        other => panic!("{other:?}"),
    };
    let first = page(Options { limit: 2, ..Options::default() });
    assert_eq!((first.items.len(), first.remaining), (2, Some(1)));
    api.delete("configmaps", "c", json!({})).unwrap();
    let token = first.continue_token.clone();
    let second = page(Options { limit: 2, continue_token: token, ..Options::default() });
    assert_eq!((second.items.len(), second.revision), (1, first.revision));
    assert_eq!(second.continue_token, "");
    let labels = Options { label_selector: "x=y".into(), ..Options::default() };
    assert!(page(labels).items.is_empty());
    let continue_token = first.continue_token;
    let at = Options { continue_token, resource_version: "1".into(), ..Options::default() };
    let refused = api.list("configmaps", at).unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (400, "specifying resource version is not allowed when using continue")
    );
    let stream = Options { send_initial_events: Some(true), ..Options::default() };
    let refused = api.list("configmaps", stream).unwrap_err();
    let why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
    assert!(refused.code == 422 && refused.message.ends_with(why), "{}", refused.message);
}

#[test]
fn a_watch_shows_what_a_selector_sees() {
    let api = Harness::new();
    let mut labeled = config("a");
    labeled["metadata"]["labels"] = json!({"x": "y"});
    let made = api.create("configmaps", "default", labeled).unwrap();
    let mut request = api.request(Verb::Watch, "configmaps", "default", "");
    request.options.label_selector = "x=y".into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut watch = api.api.watch(&request).unwrap();
        let mut change = made.clone();
        change["metadata"]["labels"] = json!({"x": "z"});
        let change = api.update("configmaps", change).unwrap();
        api.delete("configmaps", "a", json!({})).unwrap();
        api.create("configmaps", "default", made_again()).unwrap();
        let Some(crate::Frame::Added(first)) = watch.next().await else { panic!("no object") };
        assert_eq!(first.value(), &made);
        let Some(crate::Frame::Deleted(last)) = watch.next().await else { panic!("still there") };
        assert_eq!(last.metadata().labels["x"], "y");
        assert_eq!(last.metadata().resource_version, change["metadata"]["resourceVersion"]);
        let Some(crate::Frame::Added(again)) = watch.next().await else { panic!("not again") };
        assert_ne!(again.metadata().uid, first.metadata().uid);
        request.options.resource_version = "1".into();
        api.api.store().compact(api.api.snapshot().revision());
        let mut late = api.api.watch(&request).unwrap();
        let Some(crate::Frame::Error(status)) = late.next().await else { panic!("not too old") };
        assert_eq!((status.code, &*status.reason), (410, "Expired"));
        assert!(late.next().await.is_none());
    });
}

fn made_again() -> Value {
    let mut config = config("a");
    config["metadata"]["labels"] = json!({"x": "y"});
    config
}

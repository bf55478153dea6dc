//! A seeded world: the real store, admission, driver, decisions and pod planner under faults.

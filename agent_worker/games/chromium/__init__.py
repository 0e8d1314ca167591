"""The browser and its one page: how it is started, walled in and watched, and what a page reports."""

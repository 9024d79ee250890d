// Package page is the status page: one HTML page, with its scripts and styles in the binary, that
// shows an operator at a glance whether the distributor is healthy.
//
// The package owns only what the browser sees. It does not read the state of the distributor: the
// browser opens the server-sent events at "events", next to the page, and every event named
// "status" carries a status.Status as JSON. The server of the page also serves these events. When
// events stop, the page says so, greys its contents, and tries again by itself.
//
// All addresses in the page are relative, so the page works below a prefix of a proxy. The
// Content-Security-Policy admits only the page's own origin, and no inline script or style. Texts
// from the distributor (keys, reasons, log lines, which may quote a stranger's request) are only
// ever set as text.
//
// How the files in site/ divide the work:
//
//	main.js        connects the others; the only file that knows them all
//	connection.js  EventSource, a watchdog for it, new attempts
//	history.js     the last 15 minutes: points for the charts, bases for rates; pure
//	rates.js       differences of counters; pure
//	judge.js       the headline and its sentences; pure
//	format.js      numbers, sizes, times, names as text; pure
//	dom.js         elements and tables that change only where their text does
//	charts.js      the three charts, on vendor/uplot
//	sections.js    tiles, streams, frame log, counters by reason, API, tables, events
//	workers.js     workers with their processes
//	clients.js     the slowest collectors, keys to copy
//	theme.js       light and dark, before the first paint
//
// [Handler] is safe for concurrent use, keeps no state and cannot fail after the start.
package page

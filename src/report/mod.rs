//! Heat maps and the HTML report.

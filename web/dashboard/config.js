// Where the functions and Supabase Auth are, which deploy/dashboard.py writes into the page.

export const config = JSON.parse(document.getElementById("config").textContent);

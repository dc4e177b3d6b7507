start
deploy draft web:1
commit carol "A draft" draft
deploy shop web:1
commit carol "Take the draft" tip

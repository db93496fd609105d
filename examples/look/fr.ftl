# What is missing here is in English.
approval-title = Laisser cet agent utiliser votre compte { $service } ?
approval-heading = Laisser cet agent utiliser votre compte ?
deny = Refuser
approve = Autoriser
scope-recipes-read = Voir vos recettes
scope-orders-write = Commander de la farine et du sucre
caution-orders-write = Coûte de l’argent
never-payments = les paiements
